"""Types on the wire: what clients, agents, provisioners and relays send each other. No I/O; imports nothing of ours."""
