"""The process that makes one sandbox and then becomes the first process inside it.

Run by launcher.py as `python -I -S -c …` with the plan by marshal on stdin. Its start is part of every
workspace's start, so it imports only what is cheap (no json, re, typing: 20 ms together). Two processes: the
launcher (host side: record, id maps; gone when the sandbox runs) and its child (pid 1 inside: builds the tree,
starts the init script, reaps, bounds the log). Invariant: the child runs nothing of the workspace before its
record is on disk, so that no crash of the provisioner leaves a sandbox that nobody can find. Lines on stdout:
`pid N`, `started`, `ready`, `exit N`, `error …`.
"""

from __future__ import annotations

import marshal
import os
import resource
import sys

from . import kernel as k
from .inside import supervise
from .newroot import NewRoot
from .procfs import start_ticks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    Plan = dict[str, Any]

STATUS_FD = 1
# The init script inherits the status pipe under this number; the shim reports `ready` on it and closes it.
READY_FD = 9


def main() -> NoReturn:
    """Build the sandbox that stdin describes, and exit 0 once it has been let go."""
    try:
        plan: Plan = marshal.load(sys.stdin.buffer)  # noqa: S302 - our own parent's pipe
        _launch(plan)
    except Exception as error:
        say("error", describe(error))
        os._exit(1)
    os._exit(0)


def describe(error: BaseException) -> str:
    """Return an error's text without Python's decoration."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return str(error) or repr(error)


def say(word: str, text: object) -> None:
    """Tell the runtime one line; it may have gone already."""
    line = f"{word} {text}".strip().replace("\n", " ")
    try:
        os.write(STATUS_FD, f"{line}\n".encode(errors="replace")[:4096])
    except OSError:
        return


def _launch(plan: Plan) -> None:
    os.umask(0o022)
    log_fd = os.open(plan["log_path"], os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    if plan["mode"] == "user":
        k.unshare(k.CLONE_NEWUSER | k.CLONE_NEWPID, "of user and pid namespace")
        _map_caller(plan)
    elif plan["mode"] == "root":
        k.unshare(k.CLONE_NEWPID, "of pid namespace")
    go_r, go_w = os.pipe()
    ask_r, ask_w = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(go_w)
        os.close(ask_r)
        _child(plan, log_fd, go_r, ask_w)
    os.close(go_r)
    os.close(ask_w)
    _write_record(plan, pid)
    say("pid", pid)
    os.write(go_w, b"g")
    if plan["mode"] == "root" and os.read(ask_r, 1):
        _map_range(pid, plan["uid_base"], plan["uid_count"])
        os.write(go_w, b"m")


def _write_file(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _map_caller(plan: Plan) -> None:
    """Map the one id that an unprivileged caller may map: its own (user_namespaces(7))."""
    _write_file("/proc/self/setgroups", "deny")
    _write_file("/proc/self/uid_map", f"{plan['inner_id']} {plan['caller_uid']} 1")
    _write_file("/proc/self/gid_map", f"{plan['inner_id']} {plan['caller_gid']} 1")


def _map_range(pid: int, base: int, count: int) -> None:
    _write_file(f"/proc/{pid}/uid_map", f"0 {base} {count}")
    _write_file(f"/proc/{pid}/gid_map", f"0 {base} {count}")


def _write_record(plan: Plan, pid: int) -> None:
    # The record so far is a JSON object without its end.
    text = f'{plan["record"]},"pid":{pid},"start_ticks":{start_ticks(pid) or 0}}}'
    path = plan["record_path"]
    fd = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(text)
    os.rename(f"{path}.new", path)  # noqa: PTH104


def _child(plan: Plan, log_fd: int, go_r: int, ask_w: int) -> NoReturn:
    try:
        os.setsid()
        if os.read(go_r, 1) != b"g":
            os._exit(1)
        _isolate(plan, go_r, ask_w)
        os.close(go_r)
        os.close(ask_w)
        log_r, log_w = os.pipe()
        k.hold_signals(hold=True)
        main_pid = os.fork()
        if main_pid == 0:
            _run_script(plan, log_w)
        os.close(log_w)
        say("started", "")
        _lock_down(plan["mode"])
        code = supervise(main_pid, log_r, log_fd, plan["log_bytes"], is_alone=plan["mode"] != "none")
        say("exit", code)
    except BaseException as error:
        say("error", describe(error))
        os._exit(1)
    os._exit(0)


def _isolate(plan: Plan, go_r: int, ask_w: int) -> None:
    """Enter the namespaces and the new root.

    As host root the user namespace comes last: the mounts then belong to the host's and nobody inside, not
    even its root, may change them. As another user it came first (in the launcher), because it is what gives
    the right to mount.
    """
    mode = plan["mode"]
    if mode == "none":
        k.prctl(k.PR_SET_CHILD_SUBREAPER, 1, "set child subreaper")
        return
    k.unshare(
        k.CLONE_NEWNS | k.CLONE_NEWUTS | k.CLONE_NEWIPC | k.CLONE_NEWCGROUP,
        "of mount, uts, ipc and cgroup namespace",
    )
    k.set_hostname(plan["hostname"])
    NewRoot(plan["rootfs"], plan, plan["owner_uid"], plan["owner_gid"]).enter()
    if mode == "root":
        k.unshare(k.CLONE_NEWUSER, "of user namespace")
        os.write(ask_w, b"m")
        if os.read(go_r, 1) != b"m":
            raise OSError("the id map of the user namespace could not be written")
        os.setgroups([])
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
    k.leave_session_keyring()
    k.prctl(k.PR_SET_NO_NEW_PRIVS, 1, "set no_new_privs")
    k.drop_bounding_set()


def _lock_down(mode: str) -> None:
    """Leave pid 1 nothing but the right to signal, and make it opaque to the workspace's user."""
    if mode == "none":
        return
    k.keep_capabilities(*((k.CAP_KILL,) if mode == "root" else ()))
    k.prctl(k.PR_SET_DUMPABLE, 0, "set dumpable")


def _run_script(plan: Plan, log_w: int) -> NoReturn:
    """Become the init script as the workspace's user, in a clean environment."""
    try:
        os.setsid()
        k.hold_signals(hold=False)
        os.dup2(STATUS_FD, READY_FD)
        null = os.open("/dev/null", os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(log_w, 1)
        os.dup2(log_w, 2)
        os.closerange(3, READY_FD)
        os.closerange(READY_FD + 1, 256)
        if plan["mode"] != "none":
            resource.setrlimit(resource.RLIMIT_NPROC, _no_more_than(resource.RLIMIT_NPROC, plan["pids_max"]))
            _become_user(plan)
        os.chdir(plan["home"])
        os.execve("/bin/sh", ["sh", "-c", plan["script"]], plan["env"])  # noqa: S606 - is the shell
    except BaseException as error:
        os.write(READY_FD, f"error the init script could not be started: {describe(error)}\n".encode())
    os._exit(127)


def _no_more_than(kind: int, wanted: int) -> tuple[int, int]:
    hard = resource.getrlimit(kind)[1]
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    return limit, limit


def _become_user(plan: Plan) -> None:
    inner = plan["inner_id"]
    if plan["mode"] == "root":
        os.setgroups([inner])
        os.setresgid(inner, inner, inner)
        os.setresuid(inner, inner, inner)
    k.keep_capabilities()
