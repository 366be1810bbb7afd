"""Types on the wire: what clients, agents, provisioners and relays exchange. No I/O; imports nothing of ours."""
