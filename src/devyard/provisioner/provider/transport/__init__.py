"""How calls of Terraform get here: gRPC over HTTP/2 on a unix socket, as far as Terraform uses it."""
