"""The command line: a file or a folder per command family, imported when used; root.py lists them all."""
