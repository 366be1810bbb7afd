"""`devyard provisioner`: the group is in command.py, the program itself in start.py."""
