"""The block that `config-ssh` keeps in the user's SSH configuration: pure text in, text out.

Called by config.py. Invariants: everything outside the two fence lines is the user's and stays byte for byte;
a fence that is damaged is refused, never guessed at; writing twice changes nothing the second time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

START = "# ------------START-DEVYARD-----------"
END = "# ------------END-DEVYARD------------"
NOTICE = (
    "# Written by `devyard config-ssh`, which replaces all between these two lines.",
    "# Remove it with: devyard config-ssh --remove",
)
OPTION_MARK = "# :"


class FenceError(ValueError):
    """The block's fence is damaged; the message says where."""


@dataclass(frozen=True)
class BlockOptions:
    """What decides the block; remembered inside it for `--use-previous-options`."""

    suffix: str = "devyard"
    prefix: str = ""
    wait: str = "auto"
    disables_autostart: bool = False
    ssh_options: Sequence[str] = ()
    deployment_options: Mapping[str, str] = field(default_factory=dict)


def split_fence(content: str) -> tuple[str, str, str]:
    """Text before, inside (without the fence lines) and after the block. Raises FenceError."""
    lines = content.splitlines(True)
    starts = [number for number, line in enumerate(lines) if line.strip() == START]
    ends = [number for number, line in enumerate(lines) if line.strip() == END]
    if not starts and not ends:
        return content, "", ""
    if len(starts) != 1 or len(ends) != 1 or starts[0] > ends[0]:
        where = ", ".join(str(number + 1) for number in sorted((*starts, *ends)))
        raise FenceError(
            f"The lines around Devyard's block are damaged (line {where}): there must be one {START!r} and, after "
            f"it, one {END!r}. Mend or remove them by hand."
        )
    start, end = starts[0], ends[0]
    return "".join(lines[:start]), "".join(lines[start + 1 : end]), "".join(lines[end + 1 :])


def merge(content: str, block: str) -> str:
    """The file with the block in place of an old one, or at the end."""
    before, inside, after = split_fence(content)
    fenced = f"{START}\n{block}{END}\n"
    if inside or after or START in content:
        return before + fenced + after
    gap = "" if not before or before.endswith("\n\n") else "\n" if before.endswith("\n") else "\n\n"
    return before + gap + fenced


def remove(content: str) -> str:
    """The file without the block."""
    before, _, after = split_fence(content)
    return before.rstrip("\n") + "\n" + after if before.strip() else after.lstrip("\n")


def render_block(options: BlockOptions, command: Sequence[str], known_hosts: str) -> str:
    """The block's text. `command` is this CLI with its global options, word by word."""
    lines = [*NOTICE, *(f"{OPTION_MARK}{line}" for line in render_options(options))]
    if options.suffix:
        lines += ["", f"Host *.{options.suffix}"]
        lines += _settings(
            options, [*command, *_ssh_words(options, "--hostname-suffix", options.suffix)], known_hosts
        )
    if options.prefix:
        lines += ["", f"Host {options.prefix}*"]
        lines += _settings(
            options, [*command, *_ssh_words(options, "--ssh-host-prefix", options.prefix)], known_hosts
        )
    return "\n".join(lines) + "\n"


def render_options(options: BlockOptions) -> list[str]:
    """Options as `name=value` lines, those that differ from the default only."""
    lines = [f"hostname-suffix={options.suffix}"]
    if options.prefix:
        lines.append(f"ssh-host-prefix={options.prefix}")
    if options.wait != "auto":
        lines.append(f"wait={options.wait}")
    if options.disables_autostart:
        lines.append("disable-autostart=true")
    return lines + [f"ssh-option={option}" for option in options.ssh_options]


def parse_options(inside: str) -> dict[str, list[str]]:
    """The options that a block remembers, by name."""
    found: dict[str, list[str]] = {}
    for line in inside.splitlines():
        if line.startswith(OPTION_MARK):
            name, _, value = line.removeprefix(OPTION_MARK).partition("=")
            found.setdefault(name.strip(), []).append(value)
    return found


def _ssh_words(options: BlockOptions, flag: str, value: str) -> list[str]:
    words = ["ssh", "--stdio", flag, value]
    if options.wait != "auto":
        words += ["--wait", options.wait]
    if options.disables_autostart:
        words.append("--disable-autostart")
    return words


def _settings(options: BlockOptions, command: Sequence[str], known_hosts: str) -> list[str]:
    proxy = " ".join(_quoted(word) for word in command)
    settings = {
        "ConnectTimeout": "0",
        "PreferredAuthentications": "none",
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": _config_quoted(known_hosts),
        "GlobalKnownHostsFile": "/dev/null",
        "UpdateHostKeys": "no",
        "LogLevel": "ERROR",
    }
    given = [*(f"{name} {value}" for name, value in options.deployment_options.items()), *options.ssh_options]
    # ssh takes the first value of a setting: the user's and the deployment's come before ours.
    lines = [f"\t{_as_line(option)}" for option in reversed(given)]
    lines += [f"\t{name} {value}" for name, value in settings.items()]
    return [*lines, f"\tProxyCommand {proxy.replace('%', '%%')} %h"]


def _as_line(option: str) -> str:
    name, _, value = option.partition("=") if "=" in option.split(" ", 1)[0] else option.partition(" ")
    return f"{name.strip()} {value.strip()}"


def _quoted(word: str) -> str:
    """For the shell that runs ProxyCommand."""
    if word and all(character.isalnum() or character in "@%+=:,./-_" for character in word):
        return word
    return "'" + word.replace("'", "'\"'\"'") + "'"


def _config_quoted(path: str) -> str:
    text = path.replace("%", "%%")
    return f'"{text}"' if " " in text else text
