"""As whom, and how shut off, the programs of the embedded PostgreSQL run.

PostgreSQL refuses to run as root. A root server runs it as another user in a mount namespace of its own, where
cluster and programs appear under the short run directory; where the kernel forbids that (a container without
CAP_SYS_ADMIN) it runs in the open, and that user's group alone may pass the directories above the cluster. Any
other user runs it as itself. Called by postgres.py. docs/design/processes.md
"""

import contextlib
import ctypes.util
import os
import pwd
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

SYSTEM_USERS = ("devyard", "nobody")
PROBE_TIMEOUT_S = 10.0

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
_PROBE_SCRIPT = 'mount -t tmpfs -o size=4k none "$1" && mount --bind "$1" "$1"'
_REACH_SCRIPT = 'test -x "$1" || exit 11; test -x "$2" || exit 12'
_UNSHARE = ["unshare", "--mount", "--propagation", "private", "sh", "-c"]


class PostgresError(Exception):
    """The embedded database cannot be set up; the message says why and what to do."""


@dataclass(frozen=True)
class DatabaseUser:
    """`account` is None for this process's own user; `prefix` and `variables` name a user that has no name."""

    account: pwd.struct_passwd | None
    has_namespace: bool
    prefix: tuple[str, ...] = ()
    variables: dict[str, str] = field(default_factory=dict)

    def wrap(self, inner: list[str], death_signal: str, *, paths: list[Path]) -> list[str]:
        """The command as this user, tied to its parent's life; `paths`: run directory, programs, cluster."""
        tie = f"--pdeathsig={death_signal}"
        if self.account is None:
            return [*self.prefix, "setpriv", tie, *inner]
        dropped = [*_drop_to(self.account), "--no-new-privs", tie, *inner]
        if not self.has_namespace:
            return dropped
        return [*_UNSHARE, _NAMESPACE_SCRIPT, "sh", *map(str, paths), *dropped]

    def give(self, directory: Path) -> None:
        """Hands the cluster to this user, also one that another user made before."""
        account = self.account
        if account is None or not directory.exists() or directory.stat().st_uid == account.pw_uid:
            return
        for parent, _, files in os.walk(directory):
            for name in ("", *files):
                os.chown(Path(parent, name), account.pw_uid, account.pw_gid, follow_symlinks=False)

    def let_pass(self, *directories: Path) -> None:
        """Lets this user's group, and nobody else, pass through these private directories, not list them."""
        if self.account is None or self.has_namespace:
            return
        for directory in directories:
            os.chown(directory, -1, self.account.pw_gid)
            directory.chmod(0o710)

    def check_reach(self, data_dir: Path, program: Path) -> None:
        """Refuses places that this user cannot get to in the open. Raises PostgresError."""
        if self.account is None or self.has_namespace:
            return
        code = _try([*_drop_to(self.account), "sh", "-c", _REACH_SCRIPT, "sh", str(data_dir.parent), str(program)])
        if code == 0:
            return
        name = self.account.pw_name
        why = f"PostgreSQL refuses to run as root, so it runs as the user {name!r}. "
        if code not in (11, 12):
            raise PostgresError(
                f"{why}But this process may not change users (it lacks CAP_SETUID and CAP_SETGID). "
                "Run the server as an ordinary user, or use --postgres-url."
            )
        what = (
            f"may not enter {data_dir.parent}. Choose a --data-dir below a directory that is open to all"
            if code == 11
            else f"may not run {program}. Install Devyard in a directory that is open to all"
        )
        raise PostgresError(
            f"{why}Mounts are forbidden here, so that it sees the same directories as everyone, and it {what}, "
            "run the server as an ordinary user, allow mounts (in a container: --cap-add SYS_ADMIN with a seccomp "
            "and AppArmor profile that permits mount), or use --postgres-url."
        )


def find_user(probe_dir: Path) -> DatabaseUser:
    """Who runs the database here; `probe_dir` is an empty directory to mount on. Blocks. Raises PostgresError."""
    if os.geteuid() == 0:
        account = _find_account()
        return DatabaseUser(account, _try([*_UNSHARE, _PROBE_SCRIPT, "sh", str(probe_dir)]) == 0)
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        return _name_user(probe_dir)
    return DatabaseUser(None, False)


def _name_user(directory: Path) -> DatabaseUser:
    """For a user id without an entry, with which PostgreSQL's set-up refuses to work: borrows a name."""
    uid = os.geteuid()
    library = ctypes.util.find_library("nss_wrapper")
    if library is not None:
        passwd, group = directory / "passwd", directory / "group"
        passwd.write_text(f"devyard:x:{uid}:{os.getegid()}:Devyard:/:/bin/sh\n", "ascii")
        group.write_text(f"devyard:x:{os.getegid()}:\n", "ascii")
        preload = {"LD_PRELOAD": library, "NSS_WRAPPER_PASSWD": str(passwd), "NSS_WRAPPER_GROUP": str(group)}
        return DatabaseUser(None, False, variables=preload)
    with contextlib.suppress(PostgresError):
        account = _find_account()
        prefix = ("unshare", "--user", f"--map-user={account.pw_uid}", f"--map-group={account.pw_gid}")
        if _try([*prefix, "true"]) == 0:
            return DatabaseUser(None, False, prefix)
    raise PostgresError(
        f"PostgreSQL needs the name of the user it runs as, and the user id {uid} has none on this system. Add it "
        "to /etc/passwd, run as a user who has a name (in a container: docker run -u), install nss_wrapper "
        "(Debian: libnss-wrapper), allow user namespaces, or use --postgres-url."
    )


def _find_account() -> pwd.struct_passwd:
    for name in SYSTEM_USERS:
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise PostgresError(
        "PostgreSQL refuses to run as root and there is neither a user 'devyard' nor 'nobody' to run it as; "
        "make one (useradd --system devyard), run the server as another user, or use --postgres-url."
    )


def _drop_to(account: pwd.struct_passwd) -> list[str]:
    user = [f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
    return ["setpriv", *user, "--inh-caps=-all"]


def _try(command: list[str]) -> int:
    """The command's exit status, -1 when it cannot run."""
    try:
        quiet = subprocess.DEVNULL
        done = subprocess.run(
            command, stdin=quiet, stdout=quiet, stderr=quiet, timeout=PROBE_TIMEOUT_S, check=False, cwd="/"
        )
    except (OSError, subprocess.TimeoutExpired):
        return -1
    return done.returncode
