"""Terraform's plugin protocol 5: our definition and what scripts/generate-provider-protocol makes of it."""
