"""Cuts a stream of bytes into log lines: bounded, decoded, fit for a database. Pure."""

MAX_LINE_BYTES = 1024


class LineSplitter:
    """Feed bytes, get whole lines. Of a line longer than 1 KiB the rest is left out."""

    def __init__(self, max_bytes: int = MAX_LINE_BYTES) -> None:
        self._max_bytes = max_bytes
        self._partial = bytearray()

    def feed(self, data: bytes) -> list[str]:
        """The lines that `data` completes."""
        *ended, rest = data.split(b"\n")
        lines: list[str] = []
        for part in ended:
            self._keep(part)
            lines.append(_to_text(self._partial))
            self._partial.clear()
        self._keep(rest)
        return lines

    def finish(self) -> list[str]:
        """The last line, if it had no end."""
        lines = [_to_text(self._partial)] if self._partial else []
        self._partial.clear()
        return lines

    def _keep(self, part: bytes) -> None:
        self._partial += part[: self._max_bytes - len(self._partial)]


def _to_text(line: bytes | bytearray) -> str:
    """A progress bar redraws its line with CR: the last drawing counts. NUL is not text."""
    text = line.decode("utf-8", "replace").rstrip("\r").rpartition("\r")[2]
    return text.replace("\0", "\ufffd")
