import pytest
from hypothesis import given
from hypothesis import strategies as st

from devyard.provisioner.templates.hcl import HclError, read_blocks

TEXT = r"""
# a comment with "quotes" and { braces
// another
/* and
   one { more */
variable "plain" { default = "a \"b\" $${c} \n" } # behind
resource "x_y" "z" {
  for_each = { for k, v in var.m : k => "${v["a}"]}-%{ if true }{%{ endif }" }
  list = [
    1,
    -2.5,
  ]
  text = <<-EOT
    first ${var.x}
      second }
  EOT
  nested {
    deep = true
  }
  after = null
}
"""


def test_blocks_of_a_real_file() -> None:
    variable, resource = read_blocks(TEXT)
    assert (variable.type, variable.labels) == ("variable", ("plain",))
    assert variable.attributes["default"].literal() == 'a "b" ${c} \n'
    assert (resource.type, resource.labels) == ("resource", ("x_y", "z"))
    assert list(resource.attributes) == ["for_each", "list", "text", "after"]
    assert resource.attributes["list"].literal() == [1, -2.5]
    assert resource.attributes["after"].literal() is None
    assert resource.blocks[0].attributes["deep"].literal() is True
    with pytest.raises(HclError, match=r"literal|no value"):
        resource.attributes["for_each"].literal()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{ a = 1, "b c" = [true] }', {"a": 1, "b c": [True]}),
        ("{\n  a : 1\n  b : 2\n}", {"a": 1, "b": 2}),
        ("<<E\na\n b\nE", "a\n b\n"),
        ("<<-E\n   a\n    b\n  E", "a\n b\n"),
        ('"\\u00e4\\U0001F600"', "ä😀"),
        ("[]", []),
        ("1e3", 1000.0),
    ],
)
def test_literals(text: str, value: object) -> None:
    (block,) = read_blocks(f"b {{\n  v = {text}\n}}\n")
    assert block.attributes["v"].literal() == value


@pytest.mark.parametrize("text", ["a {", 'a = "x', "a = <<E\nx", "= 1", "a { b = }", 'a "x', "a {{}", "\x01"])
def test_broken_text(text: str) -> None:
    with pytest.raises(HclError, match=r"^line \d"):
        read_blocks(text)


@given(st.text(alphabet='ab "{}[]()=\n$%<#/*\\-1,E', max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        blocks = read_blocks(text)
    except HclError:
        return
    assert isinstance(blocks, list)


def test_deep_nesting_is_refused_and_does_not_overflow() -> None:
    with pytest.raises(HclError, match="too deeply"):
        read_blocks("a {\n" * 5000)
    with pytest.raises(HclError, match="too deeply"):
        read_blocks('a = "' + '${"' * 5000)
    (block,) = read_blocks("b {\n  v = " + "[" * 5000 + "]" * 5000 + "\n}\n")
    with pytest.raises(HclError, match="too deeply"):
        block.attributes["v"].literal()
