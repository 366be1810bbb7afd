"""Template versions on this machine: unpacked and made ready once, read without Terraform where that does."""
