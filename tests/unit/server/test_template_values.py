"""Which variables' values a version keeps."""

import pytest

from devyard.server.templates.rules import decide_values
from devyard.wire.errors import Invalid


def test_values_of_declared_variables_stay_and_inherited_ones_may_go() -> None:
    values = [
        {"name": "region", "value": "here"},
        {"name": "token", "value": "t", "inherited": True},
        {"name": "old", "value": "x", "inherited": True},
    ]
    kept = decide_values(values, ["token", "region", "size"])
    assert kept == [{"name": "region", "value": "here"}, {"name": "token", "value": "t"}]


@pytest.mark.parametrize(("declared", "words"), [(["region"], "It declares region."), ([], "It declares none.")])
def test_a_value_for_what_is_not_declared_is_refused(declared: list[str], words: str) -> None:
    with pytest.raises(Invalid) as refused:
        decide_values([{"name": "regoin", "value": "here"}], declared)
    assert "no variable named regoin" in refused.value.message
    assert words in refused.value.message
