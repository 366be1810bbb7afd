"""Builds: numbered runs of Terraform for a workspace, from the request to the result."""
