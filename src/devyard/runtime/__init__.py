"""What every long-running program of ours shares: logs, the stall watchdog, the tie to its parent, waits. No
product code.
"""
