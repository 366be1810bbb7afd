"""Decides what a sandbox sees: which host paths, which files of its own, which environment. Only reads.

runtime.py hands the result to the launcher. Invariant: an allow-list; the only host paths in it are the
system's programs and /etc, the running Python and this package, and `hidden` paths are covered where they
lie inside.
"""

import importlib.util
import os
import pwd
import shlex
import stat
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

INNER_ID = 1000
USER = "dev"
HOSTNAME = "workspace"
SHIM_DIR = "/run/devyard/bin"
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/libo32", "/opt")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Packages that the agent imports; where they lie outside of the interpreter's own directories (pip --user),
# their directories are shown too.
_NEEDED = ("devyard", "asyncssh", "msgspec", "click", "cryptography")


def system_paths() -> tuple[list[str], list[tuple[str, str]]]:
    """Return the directories of the system to bind, and the symbolic links (/bin → usr/bin) to repeat."""
    binds, links = [], []
    for name in _SYSTEM:
        path = Path(name)
        if path.is_symlink():
            links.append((name, str(path.readlink())))
        elif path.is_dir():
            binds.append(name)
    return binds, links


def python_paths() -> list[str]:
    """Return what must be visible for this Python to run `devyard`, without what the system's paths hold.

    Of a source checkout that is the package alone, not what lies beside it.
    """
    wanted = [sys.prefix, sys.base_prefix, os.path.realpath(sys.base_prefix), *_interpreter_homes(sys.executable)]
    for name in _NEEDED:
        spec = importlib.util.find_spec(name)
        if spec is None or not spec.submodule_search_locations:
            continue
        package = Path(next(iter(spec.submodule_search_locations)))
        is_installed = package.parent.name in ("site-packages", "dist-packages")
        wanted.append(str(package.parent if is_installed else package))
    return _outermost([path for path in wanted if path not in ("/", "/usr")])


def _interpreter_homes(executable: str) -> list[str]:
    """Return the installations that the links from a virtual environment's `python` lead through.

    Version managers put links on the way (`3.12` → `3.12.7`), and each step has to exist in the sandbox too.
    """
    found = []
    library = f"lib/python{sys.version_info.major}.{sys.version_info.minor}"
    path = Path(executable)
    for _ in range(20):
        top = path.parent.parent
        if (top / library).is_dir():
            found.append(str(top))
        if not path.is_symlink():
            break
        path = Path(os.path.normpath(path.parent / path.readlink()))
    return found


def import_paths() -> list[str]:
    """Return the directories to put on sys.path so that `devyard` and what it needs are found."""
    found: list[str] = []
    for name in _NEEDED:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations:
            parent = str(Path(next(iter(spec.submodule_search_locations))).parent)
            if parent not in found:
                found.append(parent)
    return found


def home_path() -> str:
    """Return where a sandbox has its home: never around our own programs, whose mount points would lie in it."""
    home = f"/home/{USER}"
    while any(is_inside(path, home) for path in python_paths()):
        home += "-home"
    return home


def shim() -> str:
    """Return the program `devyard` (and `coder`) of a sandbox: this interpreter with this package.

    -I keeps the workspace's PYTHON* variables and its working directory out of our program. The first start,
    by the init script, tells the runtime that the agent is about to run.
    """
    code = f"import sys; sys.path[:0] = {import_paths()!r}; sys.argv[0] = 'devyard'; "
    code += "from devyard.cli.main import run; run()"
    return (
        "#!/bin/sh\n"
        'if [ -n "$DEVYARD_SANDBOX_STARTING" ]; then\n'
        "  unset DEVYARD_SANDBOX_STARTING\n"
        "  { echo ready >&9; } 2>/dev/null\n"
        "  exec 9>&-\n"
        "fi\n"
        f'exec {shlex.quote(sys.executable)} -I -c {shlex.quote(code)} "$@"\n'
    )


def etc_files(hostname: str, *, home: str, shell: str) -> dict[str, str | None]:
    """Return the files of /etc that are the sandbox's own; None is an empty directory.

    ssh refuses configuration fragments that root of another user namespace owns: an empty folder instead.
    """
    hosts = Path("/etc/hosts")
    known = hosts.read_text(encoding="utf-8", errors="replace") if hosts.exists() else "127.0.0.1 localhost\n"
    files: dict[str, str | None] = {
        "passwd": "root:x:0:0:root:/root:/usr/sbin/nologin\n"
        f"{USER}:x:{INNER_ID}:{INNER_ID}:Developer:{home}:{shell}\n"
        "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
        "group": f"root:x:0:\ntty:x:5:\n{USER}:x:{INNER_ID}:\nnogroup:x:65534:\n",
        "hostname": f"{hostname}\n",
        "hosts": f"{known.rstrip()}\n127.0.1.1 {hostname}\n",
        # Login shells set PATH anew.
        "profile.d/devyard.sh": f'PATH="{SHIM_DIR}:$HOME/.local/bin:$PATH"\nexport PATH\n',
    }
    if Path("/etc/ssh/ssh_config.d").is_dir():
        files["ssh/ssh_config.d"] = None
    return files


def resolver_file() -> str | None:
    """Return the real file behind /etc/resolv.conf where it lies outside of /etc (systemd-resolved)."""
    path = Path("/etc/resolv.conf").resolve()
    return str(path) if path.is_file() and not is_inside(str(path), "/etc") else None


def environment(extra: Mapping[str, str], *, home: str, user: str, shim_dir: str) -> dict[str, str]:
    """Return the environment of the init script: a clean one, with `extra` on top."""
    clean = {
        "PATH": f"{shim_dir}:{home}/.local/bin:{_PATH}",
        "HOME": home,
        "USER": user,
        "LOGNAME": user,
        "SHELL": login_shell(extra),
        "LANG": "C.UTF-8",
        "TERM": "xterm-256color",
        "DEVYARD_SANDBOX_STARTING": "1",
    }
    # A shell that this machine lacks would end every session at once.
    return {**clean, **extra, "SHELL": clean["SHELL"]}


def login_shell(extra: Mapping[str, str]) -> str:
    """Return the user's shell: SHELL of the template where that program exists here, else bash, else sh."""
    for shell in (extra.get("SHELL", ""), "/bin/bash", "/usr/bin/bash"):
        if shell.startswith("/") and ":" not in shell and "\n" not in shell and os.access(shell, os.X_OK):
            return shell
    return "/bin/sh"


def hidden_paths(hidden: Sequence[str], binds: Sequence[str]) -> list[str]:
    """Return which of the paths to hide lie inside of what is shown."""
    real = [os.path.realpath(path) for path in hidden]
    return [path for path in real if any(is_inside(path, bind) for bind in binds)]


def private_paths(top: str = "/etc", *, depth: int = 4, most: int = 20_000) -> list[str]:
    """List what below `top` is not for everyone to read, to cover where the sandbox has the caller's uid.

    As host root the workspace has ids of its own and the kernel refuses these files by itself.
    """
    found: list[str] = []
    queue = [(top, 0)]
    while queue and most > 0:
        directory, level = queue.pop()
        try:
            entries = list(os.scandir(directory))
        except OSError:
            continue
        most -= len(entries)
        for entry in entries:
            if entry.is_symlink():
                continue
            is_dir = entry.is_dir(follow_symlinks=False)
            needed = stat.S_IROTH | stat.S_IXOTH if is_dir else stat.S_IROTH
            if entry.stat(follow_symlinks=False).st_mode & needed != needed:
                found.append(entry.path)
            elif is_dir and level < depth:
                queue.append((entry.path, level + 1))
    return found


def current_user() -> str:
    """Return the name of the user that the provisioner runs as."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def is_inside(path: str, top: str) -> bool:
    """Tell whether `path` is `top` or lies below it."""
    return path == top or path.startswith(f"{top.rstrip('/')}/")


def _outermost(paths: Sequence[str]) -> list[str]:
    system, _links = system_paths()
    kept: list[str] = []
    for path in sorted(set(paths), key=len):
        if not any(is_inside(path, other) for other in (*system, *kept)):
            kept.append(path)
    return kept
