"""devyard_sandbox: an isolated environment on this machine, made of kernel namespaces."""
