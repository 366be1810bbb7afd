"""Tenants of the deployment and who belongs to them."""
