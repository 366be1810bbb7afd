"""The process in which Terraform runs: `python -I -S worker.py library|binary PATH FD [GROUP…]`; never imported.

FD is a SOCK_SEQPACKET socket to the provisioner. A request is JSON, `{"id", "argv"}` with two
file descriptors for stdout and stderr, or `{"interrupt": id}`; the answer is `{"id", "code"}`. As `library` it
loads Terraform into itself (its signal handlers and environment are Terraform's for good, which is why the
provisioner never does so); as `binary` it starts one process for each command. Invariant: when the provisioner
is gone, by whatever way, the socket ends and this process kills all that it started and itself, so nothing goes on
applying. The GROUPs are its cgroups; without any it adopts orphans, to find them by descent.
"""

import ctypes
import json
import os
import signal
import socket
import sys
import threading
from typing import Any

# ruff: noqa: PTH123, PTH208  # nothing is imported that is not needed

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
MOST_PASSES = 200
MAX_REQUEST_BYTES = 1 << 16
LEFT: set[int] = set()
"""Programs of builds that succeeded: they outlive this process."""
NICENESS = 10
"""Builds are work in the background: a terminal on the same machine goes first."""


class Library:
    """Terraform as a shared library: each command is a call in a thread of its own."""

    def __init__(self, path: str, control: socket.socket) -> None:
        self._control = control
        self._library = ctypes.CDLL(path)
        self._library.RunCliWithCancel.argtypes = [
            ctypes.c_char_p,
            ctypes.c_int64,
            ctypes.POINTER(ctypes.c_char_p),
            ctypes.c_int64,
            ctypes.c_int64,
        ]
        self._library.CancelCli.argtypes = [ctypes.c_char_p]

    def start(self, run_id: str, argv: list[str], out: int, err: int) -> None:
        """Begins a command; Terraform closes both descriptors at its end."""
        threading.Thread(target=self._run, args=(run_id, argv, out, err), daemon=True).start()

    def interrupt(self, run_id: str) -> None:
        """Asks a running command to stop, as SIGINT would."""
        self._library.CancelCli(run_id.encode())

    def _run(self, run_id: str, argv: list[str], out: int, err: int) -> None:
        words = [word.encode() for word in argv]
        array = (ctypes.c_char_p * len(words))(*words)
        code = self._library.RunCliWithCancel(run_id.encode(), len(words), array, out, err)
        os.chdir("/")
        answer(self._control, run_id, code)


class Binary:
    """Terraform as an executable: each command is a child that dies with this process."""

    def __init__(self, path: str, control: socket.socket) -> None:
        self._path = path
        self._control = control
        self._prctl = ctypes.CDLL(None).prctl
        self._running: dict[str, int] = {}

    def start(self, run_id: str, argv: list[str], out: int, err: int) -> None:
        """Begins a command. Forks in the main thread: the death signal is bound to the thread that forked."""
        pid = os.fork()
        if pid == 0:
            self._exec(argv, out, err)
        os.close(out)
        os.close(err)
        self._running[run_id] = pid
        threading.Thread(target=self._wait, args=(run_id, pid), daemon=True).start()

    def interrupt(self, run_id: str) -> None:
        """Asks a running command to stop by SIGINT."""
        if run_id in self._running:
            os.kill(self._running[run_id], signal.SIGINT)

    def _exec(self, argv: list[str], out: int, err: int) -> None:
        try:
            self._prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
            os.dup2(out, 1)
            os.dup2(err, 2)
            os.closerange(3, max(out, err, self._control.fileno()) + 1)
            os.execv(self._path, ["terraform", *argv])  # noqa: S606  # the path is the administrator's setting
        except OSError as error:
            os.write(2, f"{self._path} can't be started: {error.strerror}\n".encode())
        finally:
            os._exit(127)

    def _wait(self, run_id: str, pid: int) -> None:
        _, status = os.waitpid(pid, 0)
        self._running.pop(run_id, None)
        answer(self._control, run_id, os.waitstatus_to_exitcode(status))


def answer(control: socket.socket, run_id: str, code: int) -> None:
    """Tells the provisioner that a command has ended; `code` is negative after a signal."""
    try:
        control.send(json.dumps({"id": run_id, "code": code}).encode())
    except OSError:
        end_all([])


def end_all(groups: list[str]) -> None:
    """Kills everything that was started here, however far it went away, and this process last."""
    for group in groups:
        for name, text in (("cgroup.kill", "1"), ("pids.max", "0")):
            try:
                with open(f"{group}/{name}", "w") as file:
                    file.write(text)
            except OSError:
                pass
    for _ in range(MOST_PASSES):
        pids = [pid for pid in list_members(groups) if pid != os.getpid() and pid not in LEFT]
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
        if not pids:
            break
    if LEFT:
        os.kill(os.getpid(), signal.SIGKILL)
    os.killpg(0, signal.SIGKILL)


def list_members(groups: list[str]) -> list[int]:
    """Who is in the groups, or, without any, who descends from this process."""
    for group in groups:
        try:
            with open(f"{group}/cgroup.procs") as file:
                return [int(line) for line in file]
        except OSError:
            pass
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        try:
            with open(f"/proc/{int(name)}/stat", errors="replace") as file:
                fields = file.read().rpartition(")")[2].split()
            if fields[0] != "Z":
                children.setdefault(int(fields[1]), []).append(int(name))
        except (OSError, ValueError, IndexError):
            pass
    found = list(children.get(os.getpid(), ()))
    for pid in found:
        if pid not in LEFT:
            found += children.get(pid, ())
    return found


def reap() -> None:
    """Adopted orphans that have ended. Only while no command runs: Terraform waits for its own children."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def serve(control: socket.socket, terraform: Any, groups: list[str]) -> None:
    """Runs requests until the provisioner is gone; then kills all that was started, itself included."""
    while True:
        try:
            message, descriptors, _, _ = socket.recv_fds(control, MAX_REQUEST_BYTES, 2)
        except InterruptedError:
            continue
        except OSError:
            message, descriptors = b"", []
        if not message:
            end_all(groups)
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        request = json.loads(message)
        if "interrupt" in request:
            terraform.interrupt(request["interrupt"])
        elif "left" in request:
            LEFT.clear()
            LEFT.update(request["left"])
        else:
            if not groups:
                reap()
            terraform.start(request["id"], request["argv"], *descriptors)


def give_way() -> None:
    """Lowers the priority, also of the session as a whole where sessions share the processor (sched(7))."""
    os.nice(NICENESS)
    try:
        with open("/proc/self/autogroup", "w") as file:
            file.write(str(NICENESS))
    except OSError:
        pass


def main() -> None:
    """Loads the backend that the arguments name, says so, and serves."""
    backend, path, descriptor, *groups = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    give_way()
    os.set_inheritable(int(descriptor), False)
    control = socket.socket(fileno=int(descriptor))
    terraform = (Library if backend == "library" else Binary)(path, control)
    if not groups:
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    answer(control, "", 0)
    serve(control, terraform, groups)


if __name__ == "__main__":
    main()
