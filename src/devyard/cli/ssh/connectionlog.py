"""The log file that editors ask for with `--log-dir`: the steps of one connection, no secrets."""

import os
import time
from pathlib import Path


class ConnectionLog:
    """Writes lines to a file of its own, or nowhere."""

    def __init__(self, directory: Path | None) -> None:
        """Raises OSError when the directory can't be written."""
        self._path: Path | None = None
        if directory is not None:
            directory.mkdir(parents=True, exist_ok=True)
            self._path = directory / f"devyard-ssh-{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}.log"

    def write(self, text: str) -> None:
        """One line with the time."""
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {text}\n")
