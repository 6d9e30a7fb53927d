"""What an arm changes in a running Keras script. Only the child process of a trial, and `compare`, import this."""
