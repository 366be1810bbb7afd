"""What a template needs before Terraform can plan it: nothing, or `terraform init`.

With only built-in resources and our own provider, which is attached and not installed, `init` does nothing and
is left out. Invariant: in doubt the answer is that it is needed.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from devyard.provisioner.templates.hcl import Block, Expression, HclError

_OWN_PROVIDERS = ("coder", "devyard", "terraform")
_OWN_SOURCES = ("coder/coder", "devyard/devyard", "terraform.io/builtin/terraform")
_TYPED = ("resource", "data", "ephemeral")


def needs_init(blocks: Iterable[Block], documents: Iterable[Mapping[str, Any]]) -> bool:
    """Whether modules, third-party providers or a backend have to be set up."""
    return any(map(_block_needs_init, blocks)) or any(True for _ in documents)


def has_backend(blocks: Iterable[Block]) -> bool:
    """Whether the template wants to keep its state elsewhere, which it can't: the server keeps it."""
    return any(
        inner.type in ("backend", "cloud")
        for block in blocks
        if block.type == "terraform"
        for inner in block.blocks
    )


def list_own_requirements(block: Block) -> dict[str, str]:
    """The local names of a `terraform` block's required providers that are ours, with their sources."""
    found = {}
    for inner in block.blocks if block.type == "terraform" else ():
        for name, expression in inner.attributes.items() if inner.type == "required_providers" else ():
            if source := _own_source(name, expression):
                found[name] = source
    return found


def _block_needs_init(block: Block) -> bool:
    if block.type == "module":
        return True
    if block.type == "provider":
        return bool(block.labels) and block.labels[0] not in _OWN_PROVIDERS
    if block.type in _TYPED:
        return bool(block.labels) and block.labels[0].split("_", 1)[0] not in _OWN_PROVIDERS
    if block.type == "terraform":
        return any(map(_setting_needs_init, block.blocks))
    return False


def _setting_needs_init(inner: Block) -> bool:
    if inner.type != "required_providers":
        return inner.type in ("backend", "cloud")
    return not all(_own_source(name, expression) for name, expression in inner.attributes.items())


def _own_source(name: str, expression: Expression) -> str:
    """The source of a requirement, if it is one of ours."""
    try:
        requirement = expression.literal()
    except (HclError, ValueError):
        return ""
    source = requirement.get("source", f"{name}/{name}") if isinstance(requirement, dict) else f"{name}/{name}"
    short = str(source).removeprefix("registry.terraform.io/")
    return short if short in _OWN_SOURCES else ""
