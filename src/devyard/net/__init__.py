"""Tunnels: framing as pure state machines, stream tickets, and the one file that does the socket work."""
