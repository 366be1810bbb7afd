"""The provider without a provisioner: started by Terraform itself, or attached to any Terraform."""
