"""What was read and created while Terraform ran, in order of arrival.

Filled by the data sources and resources during one run of Terraform, read by the engine afterwards. One
capture belongs to one run: a second run of the same job gets a new one (`ProviderServer.use`). Invariant: one
entry per parameter name, and per preset name.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from devyard.wire.parameters import ParameterDefinition


class CapturedParameter(msgspec.Struct, frozen=True, kw_only=True):
    """A parameter that was read. `value` is the one in effect; None: required and not given."""

    definition: ParameterDefinition
    value: str | None
    problems: tuple[str, ...] = ()


class CapturedPrebuilds(msgspec.Struct, frozen=True, kw_only=True):
    """How many workspaces of a preset are kept in reserve.

    `ttl_s` 0: no expiry; schedule: (cron, instances).
    """

    instances: int
    ttl_s: int = 0
    timezone: str = ""
    schedule: tuple[tuple[str, int], ...] = ()


class CapturedPreset(msgspec.Struct, frozen=True, kw_only=True):
    """A preset: parameter values under one name."""

    name: str
    is_default: bool = False
    description: str = ""
    icon: str = ""
    parameters: dict[str, str] = {}
    prebuilds: CapturedPrebuilds | None = None


class CapturedExternalAuth(msgspec.Struct, frozen=True, kw_only=True):
    """An external sign-in that the template asks for."""

    id: str
    is_optional: bool = False


class CapturedSecret(msgspec.Struct, frozen=True, kw_only=True):
    """A user secret that the template asks for: exactly one of `env` and `file` is set."""

    env: str = ""
    file: str = ""
    help_message: str = ""
    is_missing: bool = False


@dataclass(frozen=True, slots=True)
class CapturedResource:
    """A resource that was created or destroyed.

    `values` may hold secrets and stays out of the representation.
    """

    type: str
    id: str
    values: dict[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class CapturedProblem:
    """A problem that form mode recorded in place of a diagnostic."""

    type: str
    name: str
    message: str


@dataclass(slots=True)
class Capture:
    """The lists; append-only, in order of arrival."""

    parameters: list[CapturedParameter] = field(default_factory=list)
    presets: list[CapturedPreset] = field(default_factory=list)
    workspace_tags: list[dict[str, str]] = field(default_factory=list)
    external_auths: list[CapturedExternalAuth] = field(default_factory=list)
    secrets: list[CapturedSecret] = field(default_factory=list)
    created: list[CapturedResource] = field(default_factory=list)
    destroyed: list[CapturedResource] = field(default_factory=list)
    problems: list[CapturedProblem] = field(default_factory=list)
    has_ai_task: bool = False
    """A `task` data source was read or an `ai_task` planned: the template can run tasks."""
    known_ids: set[str] = field(default_factory=set)
    """Ids of resources that Terraform's state held when it asked about them."""

    def add_parameter(self, parameter: CapturedParameter) -> str | None:
        """Records a parameter; the answer is why it clashes with another of the same name, or None."""
        for index, known in enumerate(self.parameters):
            if known.definition.name != parameter.definition.name:
                continue
            if known.definition == parameter.definition:
                return None
            message = (
                f'Two parameters are named "{known.definition.name}" but are defined differently; '
                "give one of them another name, or the same definition."
            )
            self.parameters[index] = msgspec.structs.replace(known, problems=(*known.problems, message))
            return message
        self.parameters.append(parameter)
        return None

    def add_preset(self, preset: CapturedPreset) -> str | None:
        """Records a preset; the answer is why it can't stand beside the others, or None."""
        for known in self.presets:
            if known == preset:
                return None
            if known.name == preset.name:
                return f'Two presets are named "{preset.name}"; names have to differ.'
            if known.is_default and preset.is_default:
                return f'"{known.name}" and "{preset.name}" are both the default preset; only one can be.'
        self.presets.append(preset)
        return None

    def add_created(self, resource: CapturedResource) -> None:
        """Records a resource after it was made."""
        self.created.append(replace(resource, values=dict(resource.values)))
