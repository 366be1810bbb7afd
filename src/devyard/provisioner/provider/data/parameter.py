"""`parameter`: a value that users choose, by the rules of devyard.wire.parameters, which the server asks too.

Definition mistakes and refused values are errors. In form mode both are recorded and the value is returned
all the same, so that parameters that depend on this one can still be worked out. A build that stops or
deletes a workspace only warns about values: it must always be possible to get rid of one.
"""

from collections.abc import Iterator, Mapping
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from devyard.provisioner.context import find_parameter
from devyard.provisioner.provider.capture import CapturedParameter
from devyard.provisioner.provider.checks import link, one_of, whole_number
from devyard.provisioner.provider.declarations import Call, DataSource
from devyard.provisioner.provider.problems import Problem
from devyard.provisioner.provider.schema import Block, Nested, Values, computed, optional, required
from devyard.provisioner.provider.values import UNKNOWN, has_unknown
from devyard.wire.parameters import (
    MONOTONIC,
    PARAMETER_TYPES,
    ParameterDefinition,
    ParameterOption,
    check_parameter_value,
    decide_form_type,
    find_definition_problems,
)

_OPTION_BLOCK = Block(
    attributes={
        "name": required("string", "What users read."),
        "value": required("string", "What the template receives."),
        "description": optional("string", "What choosing it means; Markdown."),
        "icon": optional("string", "A picture: URL, or path of the dashboard.", link),
    },
    doc="A choice.",
)


def _is_absent(name: str) -> Any:
    def derive(siblings: Mapping[str, Any]) -> Any:
        return UNKNOWN if siblings[name] is UNKNOWN else siblings[name] is None

    return derive


_VALIDATION_BLOCK = Block(
    attributes={
        "min": optional("number", "The least number allowed.", whole_number()),
        "max": optional("number", "The greatest number allowed.", whole_number()),
        "monotonic": optional(
            "string", "Whether the number may only grow or only shrink.", one_of("", *MONOTONIC)
        ),
        "regex": optional("string", "A pattern that text has to match; needs `error`."),
        "error": optional("string", "What users read; `{min}`, `{max}` and `{value}` are filled in."),
        "min_disabled": computed("bool", "Whether min is not set.", derive=_is_absent("min")),
        "max_disabled": computed("bool", "Whether max is not set.", derive=_is_absent("max")),
    },
    doc="What values pass.",
)

_PARAMETER_BLOCK = Block(
    attributes={
        "id": computed("string", "Names this data source."),
        "name": required("string", "Identifies the parameter in the template."),
        "type": optional("string", "What it holds.", one_of(*PARAMETER_TYPES), default="string"),
        "form_type": optional("string", "How users enter it; follows from the type when left out."),
        "display_name": optional("string", "Shown in place of the name."),
        "description": optional("string", "What it is for; Markdown."),
        "icon": optional("string", "A picture: URL, or path of the dashboard.", link),
        "default": optional("string", "The value when none is given; makes the parameter optional."),
        "mutable": optional("bool", "Whether it can change after the workspace was created.", default=False),
        "ephemeral": optional("bool", "Whether it counts for one build only.", default=False),
        "order": optional("number", "Lower ones are shown first.", whole_number()),
        "styling": optional("string", "Hints for the form, as JSON.", default="{}"),
        "value": computed("string", "The value in effect."),
        "optional": computed("bool", "Whether it has a default."),
    },
    blocks={
        "option": Nested(nesting="list", block=_OPTION_BLOCK),
        "validation": Nested(nesting="list", max_items=1, block=_VALIDATION_BLOCK),
    },
    doc="A value that users choose when they create or update a workspace.",
)


def parameter_definition(values: Values) -> ParameterDefinition:
    """The definition that a `parameter` block states. All values have to be known."""
    options = tuple(
        ParameterOption(
            name=option["name"],
            value=option["value"],
            description=option["description"] or "",
            icon=option["icon"] or "",
        )
        for option in values["option"]
    )
    validation = values["validation"][0] if values["validation"] else {}
    form_type = decide_form_type(values["type"], values["form_type"] or "", has_options=bool(options))
    return ParameterDefinition(
        name=values["name"],
        display_name=values["display_name"] or "",
        description=values["description"] or "",
        type=values["type"],
        form_type=form_type,
        mutable=values["mutable"],
        ephemeral=values["ephemeral"],
        required=values["default"] is None,
        default_value=values["default"] or "",
        icon=values["icon"] or "",
        options=options,
        validation_min=_whole(validation.get("min")),
        validation_max=_whole(validation.get("max")),
        validation_monotonic=validation.get("monotonic") or "",
        validation_regex=validation.get("regex") or "",
        validation_error=validation.get("error") or "",
        order=_whole(values["order"]) or 0,
        styling=values["styling"],
    )


def _whole(value: Any) -> int | None:
    return None if value is None else int(value)


def _check_parameter(values: Values) -> Iterator[Problem]:
    if not has_unknown({**values, "id": None, "value": None, "optional": None}):
        for problem in find_definition_problems(parameter_definition(values)):
            yield Problem(problem.message, problem.path)


def _read_parameter(call: Call, values: Values) -> Values:
    definition = parameter_definition(values)
    problems = list(_check_parameter(values))
    given = find_parameter(call.context.parameters, definition.name)
    previous = find_parameter(call.context.previous_parameters, definition.name)
    if not problems:
        problems += _check_given(call, definition, given, previous)
    value = given if given is not None else values["default"]
    captured = CapturedParameter(
        definition=definition, value=value, problems=tuple(problem.message for problem in problems)
    )
    if clash := call.capture.add_parameter(captured):
        problems.append(Problem(clash, ("name",)))
    call.problems += problems
    return {
        "id": str(uuid5(NAMESPACE_URL, f"devyard:parameter/{definition.name}")),
        "form_type": definition.form_type,
        "value": "" if value is None else value,
        "optional": not definition.required,
    }


def _check_given(
    call: Call, definition: ParameterDefinition, given: str | None, previous: str | None
) -> list[Problem]:
    """A missing value matters to a form and to a real start; a bare plan and an import go on without."""
    if given is None and not (call.context.is_form or call.is_real_start):
        return []
    message = check_parameter_value(definition, given, previous)
    if message is None:
        return []
    is_ending = bool(call.context.build_id) and call.context.transition != "start"
    path = ("default",) if given is None else ("name",)
    return [Problem(message, path, "warning" if is_ending else "error")]


DATA_SOURCES = (
    DataSource(
        name="parameter",
        block=_PARAMETER_BLOCK,
        check=_check_parameter,
        read=_read_parameter,
    ),
)
