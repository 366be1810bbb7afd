"""Parameter rules: sound and unsound definitions, values that pass and values that are refused."""

from typing import Any

import pytest

from devyard.wire.parameters import (
    FORM_TYPES,
    PARAMETER_TYPES,
    ParameterDefinition,
    ParameterOption,
    check_definition,
    check_parameter_change,
    check_parameter_value,
    decide_form_type,
    find_definition_problems,
)


def define(**fields: Any) -> ParameterDefinition:
    return ParameterDefinition(name="p", **fields)


def options(*values: str) -> tuple[ParameterOption, ...]:
    return tuple(ParameterOption(name=f"Option {value}", value=value) for value in values)


SAMPLES = {"string": "a", "number": "1", "bool": "true", "list(string)": '["a"]'}
ALL_FORM_TYPES = sorted({form_type for allowed in FORM_TYPES.values() for form_type in allowed})


@pytest.mark.parametrize("has_options", [True, False])
@pytest.mark.parametrize("form_type", ALL_FORM_TYPES)
@pytest.mark.parametrize("type_", PARAMETER_TYPES)
def test_form_type_goes_with_type(type_: str, form_type: str, has_options: bool) -> None:
    sample = "a" if form_type == "multi-select" else SAMPLES[type_]
    definition = define(
        type=type_, form_type=form_type, required=True, options=options(sample) if has_options else ()
    )
    is_allowed = form_type in FORM_TYPES[type_, has_options]
    assert (check_definition(definition) == []) is is_allowed


@pytest.mark.parametrize("type_", PARAMETER_TYPES)
def test_error_form_type_goes_with_every_type(type_: str) -> None:
    assert check_definition(define(type=type_, form_type="error")) == []


@pytest.mark.parametrize(
    ("type_", "has_options", "expected"),
    [
        ("string", False, "input"),
        ("string", True, "radio"),
        ("number", False, "input"),
        ("bool", False, "checkbox"),
        ("bool", True, "radio"),
        ("list(string)", True, "radio"),
        ("list(string)", False, "tag-select"),
    ],
)
def test_default_form_type(type_: str, has_options: bool, expected: str) -> None:
    assert decide_form_type(type_, "", has_options=has_options) == expected


UNSOUND: list[tuple[dict[str, Any], tuple[str | int, ...], str]] = [
    ({"type": "int", "required": True}, ("type",), "no parameter type"),
    ({"ephemeral": True}, ("ephemeral",), "has to be mutable"),
    ({"ephemeral": True, "mutable": True, "required": True}, ("ephemeral",), "needs a default"),
    ({"styling": "[]"}, ("styling",), "JSON object"),
    ({"styling": "{"}, ("styling",), "JSON object"),
    ({"validation_min": 1}, ("validation", 0, "min"), "limits numbers"),
    ({"type": "bool", "default_value": "true", "validation_max": 1}, ("validation", 0, "max"), "limits numbers"),
    (
        {"type": "number", "default_value": "1", "validation_min": 2, "validation_max": 1},
        ("validation", 0, "min"),
        "no value can pass",
    ),
    (
        {"type": "number", "default_value": "1", "validation_monotonic": "up"},
        ("validation", 0, "monotonic"),
        '"increasing" or "decreasing"',
    ),
    ({"validation_regex": "a"}, ("validation", 0, "regex"), "needs an error"),
    ({"validation_regex": "(", "validation_error": "no"}, ("validation", 0, "regex"), "missing ): ("),
    (
        {"validation_regex": "a", "validation_error": "no", "validation_min": 1},
        ("validation", 0, "regex"),
        "together with min",
    ),
    (
        {"type": "number", "default_value": "1", "validation_regex": "1", "validation_error": "no"},
        ("validation", 0, "regex"),
        "checks text",
    ),
    ({"options": options("a", "a"), "default_value": "a"}, ("option", 1, "name"), "names have to differ"),
    ({"type": "number", "options": options("x"), "required": True}, ("option", 0, "value"), "is not a number"),
    ({"options": options("a"), "default_value": "b"}, ("default",), "Value must be a valid option"),
    ({"type": "number", "default_value": "x"}, ("default",), "is not a number"),
    ({"type": "bool", "default_value": "yes"}, ("default",), 'neither "true" nor "false"'),
    ({"type": "list(string)", "default_value": "a"}, ("default",), "list of strings in JSON"),
    ({"type": "number", "default_value": "9", "validation_max": 8}, ("default",), "more than the maximum 8"),
]


@pytest.mark.parametrize(("fields", "path", "words"), UNSOUND)
def test_unsound_definitions(fields: dict[str, Any], path: tuple[str | int, ...], words: str) -> None:
    problem = find_definition_problems(define(**fields))[0]
    assert problem.path == path
    assert words in problem.message


VALUES: list[tuple[dict[str, Any], str | None, str]] = [
    ({}, "anything", ""),
    ({"required": True}, None, "needs a value"),
    ({}, None, ""),
    ({"type": "number"}, "1.5", ""),
    ({"type": "number"}, "-1e3", ""),
    ({"type": "number"}, "1_000", "is not a number"),
    ({"type": "number"}, "NaN", "is not a number"),
    ({"type": "number"}, " 1", "is not a number"),
    ({"type": "number"}, "", "is not a number"),
    ({"type": "number", "validation_min": 1}, "0.5", "0.5 is less than the minimum 1."),
    ({"type": "number", "validation_max": 8}, "8", ""),
    ({"type": "bool"}, "false", ""),
    ({"type": "bool"}, "False", "neither"),
    ({"type": "list(string)"}, '["a", "b"]', ""),
    ({"type": "list(string)"}, "[]", ""),
    ({"type": "list(string)"}, "[1]", "list of strings"),
    ({"options": options("a", "b")}, "b", ""),
    ({"options": options("a", "b")}, "c", 'Value must be a valid option; "c" is none of "a" or "b".'),
    ({"type": "list(string)", "form_type": "multi-select", "options": options("a", "b")}, '["b"]', ""),
    ({"type": "list(string)", "form_type": "multi-select", "options": options("a")}, '["b"]', "valid option"),
    ({"type": "list(string)", "options": options('["a","b"]')}, '["a", "b"]', ""),
    ({"validation_regex": "^a+$", "validation_error": "{value}: only a"}, "ab", '"p": ab: only a'),
    ({"validation_regex": "^a+$", "validation_error": "only a"}, "aa", ""),
    (
        {
            "type": "number",
            "validation_min": 1,
            "validation_max": 3,
            "validation_error": "{min}-{max}, not {value}",
        },
        "4",
        '"p": 1-3, not 4',
    ),
    ({"styling": '{"mask_input": true}', "type": "number"}, "s3cret", "the value is not a number"),
]


@pytest.mark.parametrize(("fields", "value", "words"), VALUES)
def test_values(fields: dict[str, Any], value: str | None, words: str) -> None:
    message = check_parameter_value(define(**fields), value)
    if words:
        assert message is not None
        assert words in message
    else:
        assert message is None


def test_a_masked_value_is_never_repeated() -> None:
    masked = define(
        styling='{"mask_input": true}', validation_regex="^x$", validation_error="not {value}", mutable=False
    )
    assert "s3cret" not in str(check_parameter_value(masked, "s3cret"))
    assert "s3cret" not in str(check_parameter_change(masked, "x", "s3cret"))


@pytest.mark.parametrize(
    ("direction", "value", "is_refused"),
    [
        ("increasing", "3", True),
        ("increasing", "4", False),
        ("increasing", "5", False),
        ("decreasing", "5", True),
        ("decreasing", "3", False),
    ],
)
def test_monotonic(direction: str, value: str, is_refused: bool) -> None:
    definition = define(type="number", validation_monotonic=direction)
    assert (check_parameter_value(definition, value, previous="4") is not None) is is_refused
    assert check_parameter_value(definition, value) is None


def test_immutable_parameters_keep_their_value() -> None:
    assert check_parameter_change(define(), "b", None) is None
    assert check_parameter_change(define(), "a", "a") is None
    assert check_parameter_change(define(mutable=True), "b", "a") is None
    assert "it keeps" in str(check_parameter_change(define(), "b", "a"))
