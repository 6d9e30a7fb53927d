"""The probes that Keras models are asked, on any backend."""
