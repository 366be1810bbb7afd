"""Encryption at rest: the keys, what is sealed with them, and moving rows to a new key."""
