"""The provisioner's side of the one WebSocket to the server (contract: devyard.wire.provisionerlink)."""
