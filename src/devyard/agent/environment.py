"""What a child process of the agent sees: environment, shell, directory. Pure but for the password file.

Used by scripts, metadata and SSH sessions alike, so that a variable means the same everywhere.
"""

import os
import pwd
import re
from collections.abc import Mapping
from pathlib import Path

from devyard.agent.settings import TOKEN_FILE_VARIABLES, TOKEN_VARIABLES, URL_VARIABLES, AgentSettings
from devyard.wire.agentlink import Manifest

_VARIABLE = re.compile(r"\$(?:\{([A-Za-z_][A-Za-z0-9_]*)\}|([A-Za-z_][A-Za-z0-9_]*))")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def data_dir(settings: AgentSettings) -> Path:
    """The directory in which scripts keep files."""
    return settings.script_data_dir / "coder-script-data"


def bin_dir(settings: AgentSettings) -> Path:
    """The directory on PATH in which scripts may put commands."""
    return data_dir(settings) / "bin"


def child_environment(settings: AgentSettings, manifest: Manifest | None) -> dict[str, str]:
    """The environment of every child; what the template sets wins, with `$NAME` expanded."""
    environment = {
        name: value
        for name, value in settings.environment.items()
        if name not in TOKEN_VARIABLES + TOKEN_FILE_VARIABLES + URL_VARIABLES
    }
    environment.update(
        CODER="true",
        DEVYARD="true",
        CODER_AGENT_URL=settings.url,
        DEVYARD_AGENT_URL=settings.url,
        CODER_AGENT_TOKEN=settings.token,
        CODER_SCRIPT_DATA_DIR=str(data_dir(settings)),
        CODER_SCRIPT_BIN_DIR=str(bin_dir(settings)),
        HOME=str(settings.home),
    )
    environment.setdefault("USER", user_name(environment))
    environment.setdefault("LOGNAME", environment["USER"])
    environment.setdefault("LANG", "C.UTF-8")
    environment["SHELL"] = find_shell(environment)
    path = environment.get("PATH") or DEFAULT_PATH
    environment["PATH"] = f"{bin_dir(settings)}:{path}"
    if manifest is not None:
        environment.update(_of_manifest(manifest, environment))
        for name, value in manifest.environment.items():
            if "=" not in name and "\0" not in name + value and name:
                environment[name] = expand_variables(value, environment)
    return environment


def _of_manifest(manifest: Manifest, environment: Mapping[str, str]) -> dict[str, str]:
    person = manifest.owner_full_name or manifest.owner_name
    values = {
        "CODER_WORKSPACE_NAME": manifest.workspace_name,
        "CODER_WORKSPACE_AGENT_NAME": manifest.agent_name,
        "CODER_WORKSPACE_OWNER_NAME": manifest.owner_name,
        "DEVYARD_WORKSPACE_NAME": manifest.workspace_name,
        "DEVYARD_WORKSPACE_AGENT_NAME": manifest.agent_name,
        "DEVYARD_WORKSPACE_OWNER_NAME": manifest.owner_name,
    }
    for name, value in (
        ("GIT_AUTHOR_NAME", person),
        ("GIT_COMMITTER_NAME", person),
        ("GIT_AUTHOR_EMAIL", manifest.owner_email),
        ("GIT_COMMITTER_EMAIL", manifest.owner_email),
    ):
        if value and not environment.get(name):
            values[name] = value
    return values


def expand_variables(text: str, environment: Mapping[str, str]) -> str:
    """Replaces `$NAME` and `${NAME}` once; a name that is not set becomes empty."""
    return _VARIABLE.sub(lambda match: environment.get(match[1] or match[2], ""), text)


def expand_path(text: str, home: Path, environment: Mapping[str, str]) -> Path:
    """An absolute path from a template's: `~`, `$HOME` and other variables expanded, relative to `home`."""
    text = expand_variables(text, {**environment, "HOME": str(home)})
    if text == "~" or text.startswith("~/"):
        text = str(home) + text[1:]
    return home / text


def working_directory(settings: AgentSettings, manifest: Manifest | None, environment: Mapping[str, str]) -> Path:
    """Where sessions start: the template's directory when it exists, else home, else /."""
    if manifest is not None and manifest.directory:
        directory = expand_path(manifest.directory, settings.home, environment)
        if directory.is_dir():
            return directory
    return settings.home if settings.home.is_dir() else Path("/")


def find_shell(environment: Mapping[str, str]) -> str:
    """The login shell: the password file's, else SHELL, else bash or sh; never one that is not there."""
    candidates = ["/bin/bash", "/usr/bin/bash", "/bin/sh"]
    if environment.get("SHELL"):
        candidates.insert(0, environment["SHELL"])
    try:
        candidates.insert(0, pwd.getpwuid(os.getuid()).pw_shell)
    except KeyError:
        pass
    for path in candidates:
        if path.startswith("/") and not path.endswith(("/nologin", "/false")) and os.access(path, os.X_OK):
            return path
    return "/bin/sh"


def user_name(environment: Mapping[str, str]) -> str:
    """The user's name, or its number when it has none."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return environment.get("USER") or str(os.getuid())


def is_variable_name(name: str) -> bool:
    """Whether a client may set a variable of this name."""
    return _NAME.fullmatch(name) is not None
