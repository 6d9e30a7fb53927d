"""What the model is: typed operations in execution order, captured from one real forward pass."""
