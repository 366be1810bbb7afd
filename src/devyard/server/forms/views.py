"""A form's answer as clients read it. Pure."""

import json
from collections.abc import Mapping

from devyard.wire.forms import (
    DiagnosticExtra,
    DynamicParameter,
    DynamicParametersResponse,
    FormDiagnostic,
    FormOption,
    FormValidation,
    FormValue,
)
from devyard.wire.parameters import ParameterDefinition, check_parameter_change
from devyard.wire.provisionerforms import FormAnswer, FormParameter, FormProblem

REQUIRED = "required"


def response_view(id_: int, answer: FormAnswer, previous: Mapping[str, str]) -> DynamicParametersResponse:
    """The answer under a request's id; `previous` are the workspace's last values."""
    diagnostics = [_diagnostic(problem) for problem in answer.problems]
    if answer.error:
        diagnostics.append(error_view("The form can't be worked out.", answer.error))
    return DynamicParametersResponse(
        id=id_,
        diagnostics=diagnostics,
        parameters=[_parameter_view(parameter, previous) for parameter in answer.parameters],
    )


def failure_view(id_: int, message: str) -> DynamicParametersResponse:
    """An answer that says only why there is none."""
    return DynamicParametersResponse(
        id=id_, diagnostics=[error_view("The form can't be worked out.", message)], parameters=[]
    )


def error_view(summary: str, detail: str) -> FormDiagnostic:
    """A diagnostic of the form as a whole."""
    return FormDiagnostic(severity="error", summary=summary, detail=detail)


def _parameter_view(parameter: FormParameter, previous: Mapping[str, str]) -> DynamicParameter:
    definition = parameter.definition
    is_missing = parameter.value is None
    diagnostics = [_diagnostic(problem, REQUIRED if is_missing else "") for problem in parameter.problems]
    if not is_missing:
        change = check_parameter_change(definition, parameter.value or "", previous.get(definition.name))
        diagnostics += [FormDiagnostic(severity="error", summary=change)] if change else []
    return DynamicParameter(
        name=definition.name,
        display_name=definition.display_name,
        description=definition.description,
        type=definition.type,
        form_type=definition.form_type,
        styling=_styling(definition.styling),
        mutable=definition.mutable,
        default_value=FormValue(definition.default_value, not definition.required),
        icon=definition.icon,
        options=[
            FormOption(
                name=option.name,
                description=option.description,
                value=FormValue(option.value, True),
                icon=option.icon,
            )
            for option in definition.options
        ],
        validations=_validations(definition),
        required=definition.required,
        order=definition.order,
        ephemeral=definition.ephemeral,
        value=FormValue(parameter.value or "", not is_missing),
        diagnostics=diagnostics,
    )


def _validations(definition: ParameterDefinition) -> list[FormValidation]:
    validation = FormValidation(
        validation_error=definition.validation_error,
        validation_regex=definition.validation_regex or None,
        validation_min=definition.validation_min,
        validation_max=definition.validation_max,
        validation_monotonic=definition.validation_monotonic or None,
    )
    limits = (
        validation.validation_regex,
        validation.validation_min,
        validation.validation_max,
        validation.validation_monotonic,
    )
    return [validation] if any(limit is not None for limit in limits) else []


def _diagnostic(problem: FormProblem, code: str = "") -> FormDiagnostic:
    return FormDiagnostic(
        severity=problem.severity,
        summary=problem.summary,
        detail=problem.detail,
        extra=DiagnosticExtra(code),
    )


def _styling(text: str) -> dict[str, object]:
    try:
        styling = json.loads(text)
    except ValueError:
        return {}
    return styling if isinstance(styling, dict) else {}
