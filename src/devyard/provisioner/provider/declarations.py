"""The shape of a resource and of a data source: schema, checks, and what happens on read, create and delete.

The files under data/ and resources/ declare them, registry.py lists them, service.py runs them. Invariant: a
declaration holds no state; all that a call may use is in its `Call`.
"""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from devyard.provisioner.context import BuildContext
from devyard.provisioner.provider.capture import Capture
from devyard.provisioner.provider.problems import Path, Problem
from devyard.provisioner.provider.sandboxes import SandboxRuntime
from devyard.provisioner.provider.schema import Block, Values
from devyard.provisioner.provider.values import UNKNOWN

PREFIXES = ("coder", "devyard")
"""Every type is known under both: `coder_agent` and `devyard_agent` are the same resource."""


@dataclass(slots=True)
class Call:
    """One call of Terraform: the job it belongs to, and the problems found on the way."""

    context: BuildContext
    capture: Capture
    access_url: str
    sandboxes: SandboxRuntime | None
    problems: list[Problem] = field(default_factory=list)

    @property
    def is_real_start(self) -> bool:
        """A build that starts a workspace: the only time when missing values are errors."""
        return bool(self.context.build_id) and self.context.transition == "start"

    def fail(self, message: str, *path: str | int) -> None:
        """Adds an error at the attribute `path`."""
        self.problems.append(Problem(message, path))

    def warn(self, message: str, *path: str | int) -> None:
        """Adds a warning at the attribute `path`."""
        self.problems.append(Problem(message, path, "warning"))


def _no_check(values: Values) -> Iterator[Problem]:
    return iter(())


async def _no_values(call: Call, values: Values) -> Values:
    return {}


async def _as_it_was(call: Call, values: Values, built_by: str) -> Values | None:
    return values


async def _nothing(call: Call, values: Values) -> None:
    return None


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSource:
    """A data source. `read` gets the configuration with defaults and gives the computed attributes."""

    name: str
    block: Block
    read: Callable[[Call, Values], Values]
    check: Callable[[Values], Iterator[Problem]] = _no_check
    """Rules between attributes; values may be unknown."""
    prefixes: tuple[str, ...] = PREFIXES


@dataclass(frozen=True, kw_only=True, slots=True)
class Resource:
    """A resource; `id` is made by the service unless `create` gives one.

    `create` gets the planned values and gives the computed attributes. `refresh` gets the state and the id of
    the build that made it, and gives the new state or None when the thing is gone. `delete` removes it.
    """

    name: str
    block: Block
    check: Callable[[Values], Iterator[Problem]] = _no_check
    create: Callable[[Call, Values], Awaitable[Values]] = _no_values
    refresh: Callable[[Call, Values, str], Awaitable[Values | None]] = _as_it_was
    delete: Callable[[Call, Values], Awaitable[None]] = _nothing
    prefixes: tuple[str, ...] = PREFIXES


def known(value: Any) -> Any:
    """The value, or None where it is unknown: for rules that only judge what is there."""
    return None if value is UNKNOWN else value


def find_duplicates(items: Any, key: str, at: Path) -> Iterator[Problem]:
    """One problem per element of a block list whose `key` an earlier one has already."""
    seen: set[Any] = set()
    for index, item in enumerate(items if isinstance(items, list) else ()):
        value = None if item is UNKNOWN else known(item.get(key))
        if value is not None and value in seen:
            yield Problem(
                f'{at[-1]}: two have the {key} "{value}"; each {key} may appear once.', (*at, index, key)
            )
        seen.add(value)
