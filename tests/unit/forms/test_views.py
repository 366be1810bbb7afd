"""The shape that clients read, field by field."""

from uuid import uuid4

import msgspec

from devyard.server.forms.views import response_view
from devyard.wire.parameters import ParameterDefinition, ParameterOption
from devyard.wire.provisionerforms import FormAnswer, FormParameter, FormProblem


def test_the_shape_of_an_answer() -> None:
    definition = ParameterDefinition(
        name="size",
        display_name="Size",
        type="number",
        form_type="radio",
        mutable=True,
        default_value="1",
        options=(ParameterOption(name="Small", value="1"),),
        validation_min=1,
        order=3,
        styling='{"disabled": true}',
    )
    answer = FormAnswer(
        request_id=uuid4(),
        parameters=(FormParameter(definition=definition, value="1"),),
        problems=(FormProblem(summary="Deprecated", severity="warning"),),
    )
    assert msgspec.to_builtins(response_view(4, answer, {})) == {
        "id": 4,
        "diagnostics": [{"severity": "warning", "summary": "Deprecated", "detail": "", "extra": {"code": ""}}],
        "parameters": [
            {
                "name": "size",
                "display_name": "Size",
                "description": "",
                "type": "number",
                "form_type": "radio",
                "styling": {"disabled": True},
                "mutable": True,
                "default_value": {"value": "1", "valid": True},
                "icon": "",
                "options": [
                    {"name": "Small", "description": "", "value": {"value": "1", "valid": True}, "icon": ""}
                ],
                "validations": [
                    {
                        "validation_error": "",
                        "validation_regex": None,
                        "validation_min": 1,
                        "validation_max": None,
                        "validation_monotonic": None,
                        "validation_invalid": None,
                    }
                ],
                "required": False,
                "order": 3,
                "ephemeral": False,
                "value": {"value": "1", "valid": True},
                "diagnostics": [],
            }
        ],
    }


def test_what_may_not_change_is_said() -> None:
    parameter = FormParameter(definition=ParameterDefinition(name="region", default_value="eu"), value="us")
    answer = FormAnswer(request_id=uuid4(), parameters=(parameter,))
    (changed,) = response_view(1, answer, {"region": "eu"}).parameters
    assert 'it keeps "eu"' in changed.diagnostics[0].summary
    assert response_view(1, answer, {}).parameters[0].diagnostics == []


def test_no_answer_is_said_with_its_reason() -> None:
    answer = FormAnswer(request_id=uuid4(), error="Terraform crashed: signal 9")
    (diagnostic,) = response_view(1, answer, {}).diagnostics
    assert diagnostic.severity == "error"
    assert diagnostic.detail == "Terraform crashed: signal 9"
