"""The nearest names to one that does not exist, for the message that says so.

Called where a command's lookup found nothing. Invariant: it never fails; without a near name there is no hint.
"""

from collections.abc import Iterable


def hint_nearest(name: str, known: Iterable[str]) -> str:
    """` Did you mean dev or deva?`, with a blank in front, or nothing."""
    import difflib

    names = list(dict.fromkeys(known))
    lowered: dict[str, str] = {}
    for known_name in names:
        lowered.setdefault(known_name.lower(), known_name)
    found = difflib.get_close_matches(name.lower(), lowered, n=3, cutoff=0.6)
    return f" Did you mean {' or '.join(lowered[match] for match in found)}?" if found else ""
