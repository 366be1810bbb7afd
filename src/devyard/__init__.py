"""Devyard: self-hosted cloud development environments."""

__version__ = "0.1.0"

# What `/api/v2/buildinfo` and `devyard version` report. Clients of this field switch features on by version
# number; a prerelease named `devel` passes all of their gates.
REPORTED_VERSION = f"v{__version__}-devel"
