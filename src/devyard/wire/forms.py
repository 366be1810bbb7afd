"""Forms of template versions as clients see them (`/templateversions/{id}/dynamic-parameters`).

Over the WebSocket the server speaks first, with `id` -1 and the defaults; then each request is answered under its
`id`. Where requests come faster than answers only the newest is answered.
"""

from collections.abc import Mapping
from typing import Any, Literal
from uuid import UUID

import msgspec

FIRST_ID = -1
"""The id of what the server sends unasked."""


class FormValue(msgspec.Struct, frozen=True):
    """A value that may be absent (`valid` false)."""

    value: str
    valid: bool


class DynamicParametersRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The values tried, by parameter name; those left out have their defaults.

    `owner_id`: who the workspace is for, by default the caller. `workspace_id`: an existing one, whose last values
    stand for those left out and are what may not change, or only in one direction.
    """

    id: int = 0
    inputs: Mapping[str, str] = {}
    owner_id: UUID | None = None
    workspace_id: UUID | None = None


class DiagnosticExtra(msgspec.Struct, frozen=True):
    """`code`: `required` where a value is missing, else empty."""

    code: str = ""


class FormDiagnostic(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong."""

    severity: Literal["error", "warning"]
    summary: str
    detail: str = ""
    extra: DiagnosticExtra = DiagnosticExtra()


class FormOption(msgspec.Struct, frozen=True, kw_only=True):
    """A choice."""

    name: str
    description: str
    value: FormValue
    icon: str


class FormValidation(msgspec.Struct, frozen=True, kw_only=True):
    """Which values pass; None is no limit."""

    validation_error: str
    validation_regex: str | None
    validation_min: int | None
    validation_max: int | None
    validation_monotonic: str | None
    validation_invalid: bool | None = None


class DynamicParameter(msgspec.Struct, frozen=True, kw_only=True):
    """A parameter that is there for the values tried. `styling`: what the template's JSON object says."""

    name: str
    display_name: str
    description: str
    type: str
    form_type: str
    styling: dict[str, Any]
    mutable: bool
    default_value: FormValue
    icon: str
    options: list[FormOption]
    validations: list[FormValidation]
    required: bool
    order: int
    ephemeral: bool
    value: FormValue
    diagnostics: list[FormDiagnostic]


class DynamicParametersResponse(msgspec.Struct, frozen=True, kw_only=True):
    """The form as it stands. `diagnostics`: what is wrong with the form as a whole."""

    id: int
    diagnostics: list[FormDiagnostic]
    parameters: list[DynamicParameter]
