"""Our Terraform provider (plugin protocol 5), as coder/coder and devyard."""
