"""Forms over the provisioner's WebSocket: a template's parameters worked out for values that a user tries.

A form is evaluated beside a job, in a Terraform worker of its own, so that it never waits for a build. The server
sends at most `Register.form_slots` requests to a provisioner at once; each is answered by one `FormAnswer`.
"""

from collections.abc import Mapping
from typing import Literal
from uuid import UUID

import msgspec

from devyard.wire.parameters import ParameterDefinition


class FormProblem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is wrong, for the user (a value) or for the template's author (a definition)."""

    summary: str
    detail: str = ""
    severity: Literal["error", "warning"] = "error"


class FormParameter(msgspec.Struct, frozen=True, kw_only=True):
    """A parameter that is there for the given values; `value` None: none given and no default."""

    definition: ParameterDefinition
    value: str | None
    problems: tuple[FormProblem, ...] = ()


class FormAnswer(msgspec.Struct, frozen=True, kw_only=True, tag="form_answer"):
    """The form as it stands; `error` non-empty: it could not be worked out at all, and why.

    `workspace_tags`: the tags of `coder_workspace_tags` for these values.
    """

    request_id: UUID
    parameters: tuple[FormParameter, ...] = ()
    workspace_tags: Mapping[str, str] = {}
    problems: tuple[FormProblem, ...] = ()
    error: str = ""
