"""Commands about one or more workspaces, and what they share: targets, parameters, waiting."""
