"""A Terraform provider of the tests' own: an executable that serves a schema given as JSON, and makes nothing."""
