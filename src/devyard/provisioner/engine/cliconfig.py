"""Terraform's CLI configuration on this machine: the provisioner's own file, or what the server sends with jobs.

Terraform reads the file anew in each run, but its name is fixed with the worker's environment. Invariant: the text
may hold credentials; it lies in one private file that ends with the provisioner, and is never logged.
"""

import os
from pathlib import Path


class CliConfig:
    """`file`: where the server's text goes; `own`: a file of this provisioner's, which wins."""

    def __init__(self, file: Path, own: Path | None) -> None:
        self._file = file
        self._own = own
        self._text = ""

    @property
    def path(self) -> str:
        """The file that Terraform has to be given, or empty."""
        return str(self._own or (self._file if self._text else ""))

    def offer(self, text: str) -> bool:
        """The server's text. True: workers that were started before have another file, or none."""
        if self._own is not None or text == self._text:
            return False
        before = self.path
        if text:
            aside = self._file.with_suffix(".new")
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
            with os.fdopen(os.open(aside, flags, 0o600), "w") as file:
                file.write(text)
            aside.rename(self._file)
        else:
            self._file.unlink(missing_ok=True)
        self._text = text
        return self.path != before
