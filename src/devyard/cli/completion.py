"""`devyard completion`: what makes Tab work in bash, zsh and fish."""

import os
from pathlib import Path

import click

from devyard.cli.failures import CommandFailed
from devyard.cli.output import note

SHELLS = ("bash", "zsh", "fish")
RC_FILES = {"bash": ".bashrc", "zsh": ".zshrc", "fish": ".config/fish/completions/devyard.fish"}
LINES = {
    "bash": 'eval "$(devyard completion --shell bash --print)"',
    "zsh": 'eval "$(devyard completion --shell zsh --print)"',
    "fish": "devyard completion --shell fish --print | source",
}


@click.command("completion")
@click.option("-s", "--shell", type=click.Choice(SHELLS), default=None, help="Which shell (default: yours).")
@click.option("-p", "--print", "prints", is_flag=True, help="Print the script instead of installing it.")
def completion(shell: str | None, prints: bool) -> None:
    """Install shell completion, or print its script."""
    chosen = shell or Path(os.environ.get("SHELL", "")).name
    if chosen not in SHELLS:
        raise CommandFailed(f"Which shell? Add --shell with one of: {', '.join(SHELLS)}.")
    if prints:
        click.echo(render_script(chosen))
        return
    path = Path.home() / RC_FILES[chosen]
    path.parent.mkdir(parents=True, exist_ok=True)
    content = path.read_text() if path.exists() else ""
    if LINES[chosen] in content:
        note(f"{path} loads completion already.")
        return
    with path.open("a") as file:
        file.write(("" if not content or content.endswith("\n") else "\n") + LINES[chosen] + "\n")
    note(f"Completion is loaded from {path}; open a new shell.")


def render_script(shell: str) -> str:
    """The shell's side of completion."""
    from click.shell_completion import get_completion_class

    from devyard.cli.root import build_root

    completer = get_completion_class(shell)
    assert completer is not None
    return completer(build_root(), {}, "devyard", "_DEVYARD_COMPLETE").source()
