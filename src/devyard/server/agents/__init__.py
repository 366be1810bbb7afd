"""Agents: their control connections, what they report, and what clients read about them."""
