"""What the model does on data, asked actively: one measured question a file."""
