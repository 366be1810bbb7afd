"""Why namespaces can't be had on this machine and which switch helps: the answer of `Sandboxes.check`.

Reads /proc only. Invariant: the kernel's own error always stands in the message, the advice beside it.
"""

import os
from pathlib import Path

_CAP_CHOWN, _CAP_SETGID, _CAP_SETUID, _CAP_SYS_ADMIN = 0, 6, 7, 21
_WITHOUT = (
    "To do without isolation, start the server or quickstart with --sandbox-isolation none: "
    "workspaces are then ordinary processes of this machine, with the provisioner's rights."
)
ROOT_NEEDS = (_CAP_CHOWN, _CAP_SETGID, _CAP_SETUID, _CAP_SYS_ADMIN)


def has_capabilities(wanted: tuple[int, ...] = ROOT_NEEDS, proc: Path = Path("/proc")) -> bool:
    """Tell whether this process holds all of the capabilities, by number."""
    mask = int(_status(proc).get("CapEff", "0"), 16)
    return all(mask >> number & 1 for number in wanted)


def explain(error: str, *, uid: int | None = None, proc: Path = Path("/proc")) -> str:
    """Return the message for a person: what failed and what to switch on."""
    uid = os.geteuid() if uid is None else uid
    advice = _advice(uid, proc)
    text = f"Isolated workspaces can't be started on this machine: {error}."
    return f"{text} {advice} {_WITHOUT}" if advice else text


def _advice(uid: int, proc: Path) -> str:
    if uid == 0 and not has_capabilities(proc=proc):
        return (
            "The provisioner is root without CAP_SYS_ADMIN, so it runs in a container: start that container "
            "with --cap-add SYS_ADMIN and --security-opt seccomp=unconfined (and apparmor=unconfined where "
            "AppArmor is on), or run the provisioner on the machine itself."
        )
    if _number(proc / "sys/user/max_user_namespaces") == 0:
        return "User namespaces are off: as root run `sysctl -w user.max_user_namespaces=28633`."
    if uid != 0 and _number(proc / "sys/kernel/unprivileged_userns_clone") == 0:
        return "Only root may make user namespaces: as root run `sysctl -w kernel.unprivileged_userns_clone=1`."
    if uid != 0 and _number(proc / "sys/kernel/apparmor_restrict_unprivileged_userns") == 1:
        return (
            "AppArmor restricts user namespaces: as root run "
            "`sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`, or run the provisioner as root."
        )
    if _status(proc).get("Seccomp") == "2":
        return (
            "A seccomp filter is active, as in a container: start the container with "
            "--security-opt seccomp=unconfined, or run the provisioner on the machine itself."
        )
    return ""


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _status(proc: Path) -> dict[str, str]:
    try:
        lines = (proc / "self/status").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
