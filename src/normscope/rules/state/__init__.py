"""Rules about which mode they run in and what they remember."""
