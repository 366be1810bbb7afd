"""The data sources of the provider, one file per family."""
