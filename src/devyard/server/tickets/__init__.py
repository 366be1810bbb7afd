"""Signed tickets that open streams at a relay."""
