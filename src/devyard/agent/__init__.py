"""Lives in the workspace: SSH server, scripts, metadata, stats, logs; dials out only."""
