"""The SSH server inside a workspace: sessions, terminals, files, forwarding."""
