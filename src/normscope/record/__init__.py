"""What training did: the recording, its store, and the observers that fill it."""
