"""Repair of workspaces by their owners: a plan in sentences, and its execution. docs/design/builds.md"""
