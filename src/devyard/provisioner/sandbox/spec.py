"""Checks what the provider asks of a sandbox, before anything touches the disk.

Called by the runtime first. Invariant: a spec that passed `check_spec` can be put into paths, environments and
`sh -c` as it stands.
"""

import re

from devyard.provisioner.provider.sandboxes import SandboxError, SandboxSpec

ID_PATTERN = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_HOSTNAME = re.compile(r"(?=.{1,63}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*", re.I)
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

# Linux takes at most 128 KiB in one argument of execve.
MAX_SCRIPT_BYTES = 96 * 1024
MAX_ENV_BYTES = 256 * 1024
MIN_MEMORY_MB = 16


def check_id(value: str, what: str) -> str:
    """Return the id if it is safe as a file name, raise SandboxError if not."""
    if not ID_PATTERN.fullmatch(value):
        raise SandboxError(
            f"{what} {value[:80]!r} is not valid: use 1 to 64 of a-z, 0-9 and -, not starting with -."
        )
    return value


def check_spec(spec: SandboxSpec) -> None:
    """Raise SandboxError with the field's name if the spec can't be built as it stands."""
    check_id(spec.id, "The sandbox id")
    if spec.home_id is not None:
        check_id(spec.home_id, "The home id")
    if spec.hostname is not None and not _HOSTNAME.fullmatch(spec.hostname):
        raise SandboxError(
            f"hostname {spec.hostname[:80]!r} is not valid: use 1 to 63 letters, digits, dots and inner hyphens."
        )
    if spec.cpus is not None and not 0.01 <= spec.cpus <= 4096:
        raise SandboxError(f"cpus is {spec.cpus}: it must lie between 0.01 and 4096.")
    if spec.memory_mb is not None and spec.memory_mb < MIN_MEMORY_MB:
        raise SandboxError(f"memory_mb is {spec.memory_mb}: a sandbox needs at least {MIN_MEMORY_MB}.")
    _check_texts(spec)


def _check_texts(spec: SandboxSpec) -> None:
    if not spec.init_script.strip():
        raise SandboxError("init_script is empty: nothing would run in the sandbox.")
    if "\0" in spec.init_script or len(spec.init_script.encode()) > MAX_SCRIPT_BYTES:
        raise SandboxError(f"init_script is longer than {MAX_SCRIPT_BYTES // 1024} KiB or holds a NUL byte.")
    size = 0
    for name, value in spec.env.items():
        if not _ENV_NAME.fullmatch(name):
            raise SandboxError(f"{name[:80]!r} can't be the name of an environment variable.")
        if "\0" in value or len(value.encode()) > MAX_SCRIPT_BYTES:
            raise SandboxError(f"{name}: its value is over {MAX_SCRIPT_BYTES // 1024} KiB or holds a NUL byte.")
        size += len(name) + len(value.encode()) + 2
    if size > MAX_ENV_BYTES:
        raise SandboxError(f"The environment takes {size} bytes: at most {MAX_ENV_BYTES} are allowed.")
