"""Which switch helps, by what the kernel says of itself."""

from pathlib import Path

import pytest

from devyard.provisioner.sandbox.advice import explain, has_capabilities

ALL = "000001fffeffffff"
DOCKER = "00000000a80425fb"


def machine(folder: Path, *, capabilities: str = "0", seccomp: int = 0, **switches: int) -> Path:
    (folder / "self").mkdir()
    (folder / "self" / "status").write_text(f"Name:\tx\nCapEff:\t{capabilities}\nSeccomp:\t{seccomp}\n")
    for name, value in switches.items():
        path = folder / "sys" / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n")
    return folder


@pytest.mark.parametrize(
    "uid, state, advice",
    [
        (1000, {"user__max_user_namespaces": 0}, "user.max_user_namespaces=28633"),
        (0, {"capabilities": ALL, "user__max_user_namespaces": 0}, "user.max_user_namespaces=28633"),
        (1000, {"kernel__unprivileged_userns_clone": 0}, "kernel.unprivileged_userns_clone=1"),
        (
            1000,
            {"kernel__apparmor_restrict_unprivileged_userns": 1, "kernel__unprivileged_userns_clone": 1},
            "kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        (0, {"capabilities": DOCKER, "seccomp": 2}, "--cap-add SYS_ADMIN"),
        (1000, {"seccomp": 2}, "seccomp=unconfined"),
    ],
)
def test_the_switch_that_helps_is_named(tmp_path: Path, uid: int, state: dict[str, int], advice: str) -> None:
    text = explain("unshare: Operation not permitted", uid=uid, proc=machine(tmp_path, **state))  # type: ignore[arg-type]
    assert "unshare: Operation not permitted" in text
    assert advice in text


def test_where_nothing_is_known_the_error_stands_alone(tmp_path: Path) -> None:
    healthy = machine(tmp_path, capabilities=ALL, user__max_user_namespaces=9)
    assert explain("disk on fire", uid=0, proc=healthy).endswith("machine: disk on fire.")


def test_roots_rights_are_read_from_the_kernel(tmp_path: Path) -> None:
    assert has_capabilities(proc=machine(tmp_path, capabilities=ALL))
    (tmp_path / "self" / "status").write_text(f"CapEff:\t{DOCKER}\n")
    assert not has_capabilities(proc=tmp_path)
