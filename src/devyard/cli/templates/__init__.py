"""`devyard templates`: the group is in command.py, each larger subcommand in a file of its name."""
