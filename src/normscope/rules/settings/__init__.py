"""Rules about how its norm layers are configured."""
