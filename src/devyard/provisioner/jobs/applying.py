"""What an apply has done so far, against what is saved of it: resources in flight, lines that wait for a state.

Terraform says that a resource is complete a moment before it writes its state. Called by building.py. Invariant:
a line that says "complete" is passed on after a state that holds the resource, or `HOLD_S` later where none comes,
so that nobody has read of a resource that a crash makes unknown; lines keep their order.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from itertools import islice

from devyard.provisioner.jobs.joblog import JobLog
from devyard.provisioner.jobs.progress import Event, Hook, Progress
from devyard.wire.enums import LogLevel

HOLD_S = 10.0
MAX_NAMED = 500
MAX_HELD = 5000
_MAKING = frozenset({"create", "replace"})

InFlight = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]
"""Being made or made and not saved; being removed; to be made. Addresses, each with a word on how far it is."""


class ApplyProgress(Progress):
    """The progress of `terraform apply`. `saved`: ids by address in the state before; `on_change`: something began
    or ended.
    """

    def __init__(self, log: JobLog, saved: Mapping[str, str], on_change: Callable[[], None]) -> None:
        super().__init__(log, "apply")
        self._saved = saved
        self._on_change = on_change
        self._planned: dict[str, None] = {}
        self._made: dict[str, str] = {}
        self._made_count = 0
        self._waited_for: dict[str, int] = {}
        self._held: deque[tuple[int, str, LogLevel]] = deque()

    @property
    def is_waiting(self) -> bool:
        """Lines are held back until a state comes."""
        return bool(self._waited_for)

    def take_saved(self, saved: Mapping[str, str]) -> None:
        """A state was saved that holds these (ids by address): what waited for them goes on."""
        self._saved = saved
        for address, id_ in list(self._made.items()):
            if _holds(saved, address, id_):
                del self._made[address]
                self._waited_for.pop(address, None)
        self._pass_on_held()

    def let_go(self) -> None:
        """Terraform has ended: passes on every line that is held back. One that says "complete" of a resource that
        never came into a state is put right.
        """
        unsaved = {number: address for address, number in self._waited_for.items()}
        held = [(unsaved.pop(number, ""), text, level) for number, text, level in self._held]
        self._waited_for.clear()
        self._held.clear()
        for address, text, level in held:
            if address:
                super()._write(f"{address}: made, but Terraform ended before it had saved that", "error")
            else:
                super()._write(text, level)

    def list_unsaved(self, saved: Mapping[str, str]) -> tuple[str, ...]:
        """Resources that may exist though the state (ids by address: `saved`) does not hold them."""
        made = [
            f"{address} (id {id_})" if id_ else address
            for address, id_ in self._made.items()
            if not _holds(saved, address, id_)
        ]
        begun = [
            f"{address} (being created)" for address, (action, _) in self._running.items() if action == "create"
        ]
        return (*made, *begun)[:MAX_NAMED]

    def list_in_flight(self) -> InFlight:
        """What is being made and removed beyond the last saved state, and what is still to be made."""
        removing = (
            f"{address} (being removed)" for address, (action, _) in self._running.items() if action == "delete"
        )
        planned = (f"{address} (planned, not known to be begun)" for address in self._planned)
        return (
            self.list_unsaved(self._saved),
            tuple(islice(removing, MAX_NAMED)),
            tuple(islice(planned, MAX_NAMED)),
        )

    def _take_planned(self, address: str, action: str) -> None:
        if action in _MAKING:
            self._planned[address] = None
            self._on_change()

    def _take_hook(self, event: Event, hook: Hook) -> None:
        super()._take_hook(event, hook)
        address = hook.resource.addr
        if hook.action != "create":
            if hook.action == "delete":
                self._on_change()
            return
        if event.type == "apply_start":
            self._planned.pop(address, None)
        elif event.type == "apply_complete":
            self._made[address] = hook.id_value or ""
            self._made_count += 1
            self._waited_for[address] = self._made_count
            asyncio.get_running_loop().call_later(HOLD_S, self._give_up_waiting, address, self._made_count)
        self._on_change()

    def _write(self, text: str, level: LogLevel) -> None:
        if self._waited_for or self._held:
            self._held.append((self._made_count, text, level))
            if len(self._held) > MAX_HELD:
                self._waited_for.clear()
                self._pass_on_held()
        else:
            super()._write(text, level)

    def _give_up_waiting(self, address: str, number: int) -> None:
        if self._waited_for.get(address) == number:
            del self._waited_for[address]
            self._pass_on_held()

    def _pass_on_held(self) -> None:
        oldest = min(self._waited_for.values(), default=self._made_count + 1)
        while self._held and self._held[0][0] < oldest:
            _, text, level = self._held.popleft()
            super()._write(text, level)


def _holds(saved: Mapping[str, str], address: str, id_: str) -> bool:
    """Whether a state holds this resource, and not an older one at its address."""
    return address in saved and (not id_ or saved[address] in ("", id_))
