"""Workspaces: who has which, in what state, and what may be done with it."""
