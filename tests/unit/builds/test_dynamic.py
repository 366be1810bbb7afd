"""Values of builds whose parameters the form decides."""

from uuid import UUID

import pytest

from devyard.server.builds.dynamic import Evaluated, decide_values
from devyard.server.builds.queries import VersionRow
from devyard.wire.errors import Conflict, Invalid
from devyard.wire.parameters import ParameterDefinition
from devyard.wire.templates import ParameterValue

REGION = ParameterDefinition(name="region", default_value="eu", mutable=True)
LICENCE = ParameterDefinition(name="licence", required=True, mutable=True)
ONCE = ParameterDefinition(name="once", default_value="no", mutable=True, ephemeral=True)
VERSION = UUID(int=1)


def version(*, is_dynamic: bool = True) -> VersionRow:
    fields = dict.fromkeys(VersionRow.__struct_fields__)
    return VersionRow(**{**fields, "id": VERSION, "parameters": [REGION], "dynamic_parameters": is_dynamic})


def evaluated(*definitions: ParameterDefinition, version_id: UUID = VERSION, **previous: str) -> Evaluated:
    return Evaluated(version_id=version_id, previous=previous, definitions=definitions, workspace_tags={})


def given(**values: str) -> list[ParameterValue]:
    return [ParameterValue(name=name, value=value) for name, value in values.items()]


def test_the_form_says_which_parameters_there_are() -> None:
    form = evaluated(REGION, LICENCE)
    assert decide_values(version(), form, given(licence="L"), None, "start") == {"region": "eu", "licence": "L"}
    with pytest.raises(Invalid) as refused:
        decide_values(version(), form, given(region="us"), None, "start")
    assert [problem.field for problem in refused.value.validations or ()] == ["licence"]


def test_what_the_form_leaves_out_is_dropped_and_what_nobody_knows_is_refused() -> None:
    form = evaluated(REGION, licence="L")
    previous = {"licence": "L"}
    assert decide_values(version(), form, given(licence="M"), previous, "start") == {"region": "eu"}
    with pytest.raises(Invalid):
        decide_values(version(), form, given(typo="x"), previous, "start")


def test_what_counts_for_one_build_does_not_come_back() -> None:
    form = evaluated(REGION, ONCE, once="yes")
    assert decide_values(version(), form, [], {"once": "yes"}, "start") == {"region": "eu", "once": "no"}


@pytest.mark.parametrize(
    "form",
    [None, evaluated(REGION, version_id=UUID(int=2)), evaluated(REGION, region="eu")],
    ids=["none", "of another version", "from other values"],
)
def test_a_form_that_does_not_fit_any_more(form: Evaluated | None) -> None:
    with pytest.raises(Conflict):
        decide_values(version(), form, [], {"region": "us"}, "start")


def test_stopping_keeps_what_there_is() -> None:
    values = {"region": "us", "licence": "L"}
    assert decide_values(version(), None, [], values, "stop") == values


def test_where_the_import_knows_all_no_form_is_needed() -> None:
    assert decide_values(version(is_dynamic=False), None, [], {"licence": "L"}, "start") == {"region": "eu"}
