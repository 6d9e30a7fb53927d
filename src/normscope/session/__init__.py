"""`normscope run`: a light parent that starts the user's script in a child, where Python itself runs it.

`parent` starts the child and returns how it ended; `startup/sitecustomize` is what the child's Python
imports before the script; `child` begins observing when the script imports PyTorch.
"""
