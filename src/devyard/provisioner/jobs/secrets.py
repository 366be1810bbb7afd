"""What must not be read in a job's log: tokens, keys, values of sensitive variables.

One per job; every line that leaves the provisioner goes through `clean`. Invariant: a secret is known here
before Terraform can print it (agents' tokens come from the provider's capture as they are made).
"""

import re
from collections.abc import Iterable, Sequence

from devyard.provisioner.provider.capture import CapturedResource
from devyard.provisioner.results.instances import Instance, own_type
from devyard.wire.provisionerlink import Variable, WorkspaceContext
from devyard.wire.provisionerresults import TemplateVariableResult

MASK = "(secret)"
_SHORTEST = 4
_SHORTEST_LINE = 16


class Secrets:
    """The secrets of one job."""

    def __init__(self, context: WorkspaceContext) -> None:
        self._values: set[str] = set()
        self._pattern: re.Pattern[str] | None = None
        self._created: Sequence[CapturedResource] = ()
        self._seen = 0
        self.add((context.owner_session_token, context.owner_oidc_access_token, context.owner_ssh_private_key))

    def add(self, values: Iterable[str]) -> None:
        """Values to hide. Of several lines each is hidden too; very short ones would hide half of a log."""
        for value in values:
            if len(value) >= _SHORTEST:
                self._values.add(value)
            if "\n" in value:
                self._values.update(line for line in value.splitlines() if len(line) >= _SHORTEST_LINE)
        self._pattern = None

    def add_variables(self, definitions: Iterable[TemplateVariableResult], values: Iterable[Variable]) -> None:
        """Hides the values of variables that the template marks as sensitive."""
        sensitive = {definition.name for definition in definitions if definition.sensitive}
        self.add(value.value for value in values if value.name in sensitive)

    def add_agents(self, instances: Iterable[Instance]) -> None:
        """Hides the tokens of agents in a state."""
        self.add(instance.text("token") for instance in instances if instance.own_type == "agent")

    def follow(self, created: Sequence[CapturedResource]) -> None:
        """Hides the tokens of agents in `created`, a list that grows while Terraform runs."""
        self._created = created
        self._seen = 0

    def clean(self, text: str) -> str:
        """The text without secrets."""
        self._absorb()
        if self._pattern is None:
            values = sorted(self._values, key=len, reverse=True)
            self._pattern = re.compile("|".join(map(re.escape, values)) or r"(?!)")
        return self._pattern.sub(MASK, text)

    def _absorb(self) -> None:
        new = self._created[self._seen :]
        self._seen += len(new)
        tokens = [resource.values.get("token") for resource in new if own_type(resource.type) == "agent"]
        if tokens:
            self.add(token for token in tokens if isinstance(token, str))
