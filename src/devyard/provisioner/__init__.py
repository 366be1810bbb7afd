"""Runs Terraform: one job at a time, on one WebSocket to the server."""
