"""Provisioners: their keys, the daemons that were seen, and the socket on which they take jobs."""
