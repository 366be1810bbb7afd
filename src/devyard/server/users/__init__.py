"""People: the first administrator, signing in, profiles, roles, status, git keys."""
