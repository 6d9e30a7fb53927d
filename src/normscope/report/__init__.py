"""Reports of a diagnosis and of a comparison: terminal, JSON, HTML. Imports no deep-learning framework."""
