"""The process's share of file descriptors, which bounds its connections."""

import resource


def raise_file_limit() -> int:
    """Raises the soft limit of open files to the hard one; how many this process may open now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        return soft
    return hard
