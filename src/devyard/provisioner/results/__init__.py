"""What Terraform made, read from its state, plan and graph, as the types that go to the server. No I/O."""
