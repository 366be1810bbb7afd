"""Packages that template versions were imported with: external modules and third-party providers, by SHA-256."""
