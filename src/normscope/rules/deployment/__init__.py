"""Rules on models that were carried from one framework to another."""
