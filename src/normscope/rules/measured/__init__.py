"""Rules about what probes found."""
