"""What an arm changes in a running PyTorch script. Only the child process of a trial imports this."""
