"""Streams to an agent, and the commands that use them bare: port-forward, ping, speedtest."""
