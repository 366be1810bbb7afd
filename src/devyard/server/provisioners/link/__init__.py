"""The server's side of a provisioner's WebSocket (contract: devyard.wire.provisionerlink)."""
