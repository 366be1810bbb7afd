"""`devyard ssh` and `devyard config-ssh`: SSH over a stream to an agent. Streams are in cli/connect."""
