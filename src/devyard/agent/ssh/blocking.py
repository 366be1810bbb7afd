"""Which commands move files, for agents started with --block-file-transfer. Pure.

A hurdle against mistakes, not a wall: who has a shell can always copy text out of it.
"""

_PROGRAMS = frozenset({"scp", "sftp", "rsync", "nc", "netcat", "ncat", "sftp-server"})


def is_file_transfer(command: str) -> bool:
    """Whether a command line starts one of the known programs."""
    words = command.split()
    while words and ("=" in words[0] or words[0] in ("exec", "env", "command")):
        words.pop(0)
    return bool(words) and words[0].rpartition("/")[2] in _PROGRAMS
