"""What expressions refer to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devyard.provisioner.templates.hcl import HclError, read_blocks
from devyard.provisioner.templates.references import list_references


def references(expression: str) -> set[str]:
    (block,) = read_blocks(f"x {{\n  a = {expression}\n}}\n")
    return {".".join(path) for path in list_references(block.attributes["a"])}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("var.a", {"var.a"}),
        ("local.a[var.b].c", {"local.a.c", "var.b"}),
        ("module.m[0].out", {"module.m.out"}),
        ("module.m[*].out", {"module.m.out"}),
        ("module.m.*.out", {"module.m.out"}),
        ("data.t.n.0.x", {"data.t.n.x"}),
        ('module.m[each.key]["x"].out', {"module.m.out", "each.key"}),
        ("[local.a, local.b]", {"local.a", "local.b"}),
        ('"a ${local.b} $${local.c} %%{ if local.d }"', {"local.b"}),
        ('"%{ if local.a ~} ${"${local.b}"} %{ endif }"', {"local.a", "local.b", "if", "endif"}),
        ("<<E\n${local.a}\nE\n", {"local.a"}),
        ("{ for k, v in local.m : k => v.x }", {"local.m", "v.x", "for", "k", "v", "in"}),
        ("local.a ? local.b : -local.c", {"local.a", "local.b", "local.c"}),
    ],
)
def test_references(expression: str, expected: set[str]) -> None:
    assert references(expression) >= {name for name in expected if "." in name}
    assert {name for name in references(expression) if "." in name} == {n for n in expected if "." in n}


@given(st.text(alphabet='ab.[]{}"$%*0 \n', max_size=40))
def test_any_text_ends(text: str) -> None:
    try:
        blocks = read_blocks(f"a = {text}\nb {{\n c = {text}\n}}\n")
        for block in blocks:
            for expression in block.attributes.values():
                list_references(expression)
    except HclError:
        pass
