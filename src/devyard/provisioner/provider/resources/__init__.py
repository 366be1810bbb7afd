"""The resources of the provider, one file per family."""
