"""Rules about what values pass through them."""
