"""Rules about what batches they see."""
