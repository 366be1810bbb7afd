"""`devyard version`: for people, and for editors that compare it with the server's to the letter.

Called by main.py before Click is there, and as a command for what that does not know (`--help`).
"""

import sys

from devyard import REPORTED_VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    import click


def answer_quickly(arguments: list[str]) -> bool:
    """Answers the usual forms; False for anything else."""
    if arguments in ([], ["-o", "text"], ["--output", "text"], ["--output=text"]):
        text = f"Devyard {REPORTED_VERSION}"
    elif arguments in (["-o", "json"], ["--output", "json"], ["--output=json"]):
        text = _render_json()
    else:
        return False
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        sys.stderr.close()
    return True


def _render_json() -> str:
    return (
        f'{{"version": "{REPORTED_VERSION}", "build_time": "0001-01-01T00:00:00Z", "external_url": "", '
        '"slim": true, "agpl": false, "boring_crypto": false}'
    )


def make_command() -> "click.Command":
    """The same as a Click command."""
    import click

    @click.command("version")
    @click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="Output format.")
    def version(output: str) -> None:
        """Show the version of this program."""
        answer_quickly(["-o", output])

    return version
