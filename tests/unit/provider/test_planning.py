"""Defaults, replacement and the wire form of values."""

from decimal import Decimal
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from devyard.provisioner.provider.planning import fill_defaults, plan_change
from devyard.provisioner.provider.problems import check_attributes
from devyard.provisioner.provider.protocol import tfplugin5_pb2 as pb
from devyard.provisioner.provider.registry import DATA_SOURCES, RESOURCES, schema_bytes
from devyard.provisioner.provider.schema import Block, Nested, computed, optional, required
from devyard.provisioner.provider.values import UNKNOWN, decode, decode_json, encode, has_unknown

INNER = Block(
    attributes={
        "key": required("string", ""),
        "flag": optional("bool", "", default=True),
        "is_set": computed("bool", "", derive=lambda siblings: siblings["key"] is not None),
    }
)
BLOCK = Block(
    attributes={
        "id": computed("string", ""),
        "name": required("string", "", lambda value: None if value != "bad" else "it is bad."),
        "count": optional("number", "", default=2),
        "labels": optional(("map", "string"), ""),
        "ports": optional(("set", "number"), ""),
    },
    blocks={"item": Nested(nesting="list", block=INNER), "mark": Nested(nesting="set", block=INNER)},
)


def config(**values: Any) -> dict[str, Any]:
    empty = {"id": None, "name": "n", "count": None, "labels": None, "ports": None, "item": [], "mark": []}
    return {**empty, **values}


def test_create_shows_defaults_and_leaves_computed_unknown() -> None:
    plan = plan_change(BLOCK, config(item=[{"key": "k", "flag": None, "is_set": None}]), None)
    assert plan.values["id"] is UNKNOWN
    assert plan.values["count"] == 2
    assert plan.values["item"] == [{"key": "k", "flag": True, "is_set": True}]
    assert plan.replaces == ()


def test_no_change_gives_the_state_back() -> None:
    prior = {**config(count=2, ports=[2, 1]), "id": "x"}
    prior["mark"] = [{"key": "b", "flag": True, "is_set": True}, {"key": "a", "flag": True, "is_set": True}]
    wanted = config(
        ports=[1, 2],
        mark=[{"key": "a", "flag": None, "is_set": None}, {"key": "b", "flag": None, "is_set": None}],
    )
    plan = plan_change(BLOCK, wanted, prior)
    assert plan.values is prior
    assert plan.replaces == ()


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"name": "other"}, "name"),
        ({"name": UNKNOWN}, "name"),
        ({"count": 3}, "count"),
        ({"labels": {"a": "b"}}, "labels"),
        ({"labels": {"a": UNKNOWN}}, "labels"),
        ({"item": [{"key": "k", "flag": None, "is_set": None}]}, "item"),
        ({"item": UNKNOWN}, "item"),
    ],
)
def test_every_change_replaces(change: dict[str, Any], name: str) -> None:
    prior = {**fill_defaults(BLOCK, config()), "id": "x"}
    plan = plan_change(BLOCK, config(**change), prior)
    assert plan.replaces == (name,)
    assert plan.values["id"] is UNKNOWN


def test_checks_name_the_attribute_and_pass_over_unknown() -> None:
    (problem,) = check_attributes(BLOCK, config(name="bad"))
    assert (problem.path, problem.message) == (("name",), "name: it is bad.")
    assert list(check_attributes(BLOCK, config(name=UNKNOWN))) == []


TEXT = st.text(max_size=6)
ITEMS = st.lists(
    st.fixed_dictionaries({"key": TEXT, "flag": st.one_of(st.none(), st.booleans()), "is_set": st.just(None)}),
    max_size=3,
)
NUMBERS = st.one_of(st.none(), st.integers(-(2**40), 2**40), st.floats(-1e6, 1e6))
OBJECTS = st.fixed_dictionaries(
    {
        "id": st.one_of(st.none(), TEXT, st.just(UNKNOWN)),
        "name": TEXT,
        "count": st.one_of(NUMBERS, st.just(UNKNOWN)),
        "labels": st.one_of(st.none(), st.dictionaries(TEXT, TEXT, max_size=3)),
        "ports": st.one_of(st.none(), st.lists(st.integers(0, 9), max_size=3)),
        "item": ITEMS,
        "mark": ITEMS,
    }
)


@given(OBJECTS)
def test_values_survive_the_wire(values: dict[str, Any]) -> None:
    assert decode(BLOCK, encode(BLOCK, values)) == values


@given(OBJECTS)
def test_filling_twice_changes_nothing(values: dict[str, Any]) -> None:
    once = fill_defaults(BLOCK, values)
    assert fill_defaults(BLOCK, once) == once


def test_numbers_that_travel_as_text() -> None:
    wire = pb.DynamicValue(msgpack=msgpack.packb({"count": "18446744073709551616", "ports": ["0.1"]}))
    values = decode(BLOCK, wire)
    assert values is not None
    assert values["count"] == Decimal(2) ** 64
    assert values["ports"] == [Decimal("0.1")]
    again = msgpack.unpackb(encode(BLOCK, values).msgpack)
    assert again["count"] == "18446744073709551616"


def test_null_and_missing() -> None:
    assert decode(BLOCK, pb.DynamicValue(msgpack=b"\xc0")) is None
    assert decode(BLOCK, pb.DynamicValue()) is None
    values = decode_json(BLOCK, b'{"name": "n", "gone": 1}')
    assert values == config()


def test_unknown_is_found_anywhere() -> None:
    assert has_unknown({"a": [{"b": UNKNOWN}]})
    assert not has_unknown({"a": [{"b": None}]})


def test_every_schema_is_complete() -> None:
    message = pb.GetProviderSchema.Response.FromString(schema_bytes())
    assert set(message.resource_schemas) == set(RESOURCES)
    assert set(message.data_source_schemas) == set(DATA_SOURCES)
    for name, declared in {**RESOURCES, **DATA_SOURCES}.items():
        assert "id" in declared.block.attributes, name
        for attribute in declared.block.attributes.values():
            assert attribute.doc, name
