"""Any configuration that fits a schema, known or not, gets an answer: no call may fail by exception.

Values are generated from the schemas themselves, so that a new attribute is covered the day it is declared.
"""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from devyard.provisioner.context import BuildContext
from devyard.provisioner.provider.planning import fill_defaults
from devyard.provisioner.provider.protocol import tfplugin5_pb2 as pb
from devyard.provisioner.provider.registry import DATA_SOURCES, RESOURCES
from devyard.provisioner.provider.schema import Attribute, Block
from devyard.provisioner.provider.service import ProviderJob, ProviderService, replace_host
from devyard.provisioner.provider.values import UNKNOWN, decode, encode, has_unknown

WORDS = [
    "",
    "a",
    "x-1",
    "linux",
    "amd64",
    "number",
    "true",
    "1",
    "-3.5",
    "[]",
    '["a"]',
    "* 8-9 * * *",
    "slider",
    "{}",
]
SIMPLE: dict[str, st.SearchStrategy[Any]] = {
    "string": st.sampled_from(WORDS) | st.text(max_size=8),
    "number": st.integers(-5, 90000) | st.floats(-10, 10),
    "bool": st.booleans(),
}


def of_type(type_: Any) -> st.SearchStrategy[Any]:
    if isinstance(type_, str):
        return SIMPLE[type_]
    return st.dictionaries(st.sampled_from(WORDS), of_type(type_[1]), max_size=2)


def of_attribute(attribute: Attribute, *, may_be_unknown: bool) -> st.SearchStrategy[Any]:
    if attribute.mode == "computed":
        return st.none()
    choices = of_type(attribute.type)
    if attribute.mode == "optional":
        choices = st.none() | choices
    return choices | st.just(UNKNOWN) if may_be_unknown else choices


def of_block(block: Block, *, may_be_unknown: bool) -> st.SearchStrategy[dict[str, Any]]:
    fields = {
        name: of_attribute(attribute, may_be_unknown=may_be_unknown)
        for name, attribute in block.attributes.items()
    }
    for name, nested in block.blocks.items():
        blocks: st.SearchStrategy[Any] = st.lists(
            of_block(nested.block, may_be_unknown=may_be_unknown),
            min_size=nested.min_items,
            max_size=nested.max_items or 2,
        )
        fields[name] = blocks | st.just(UNKNOWN) if may_be_unknown else blocks
    return st.fixed_dictionaries(fields)


def run(call: Any) -> Any:
    """Without sandboxes no call waits for anything, so that one step takes it to its end."""
    with pytest.raises(StopIteration) as end:
        call.send(None)
    return end.value.value


CONTEXTS = st.sampled_from(
    [
        BuildContext(),
        BuildContext(is_form=True, parameters={"a": "9"}),
        BuildContext(build_id="b", transition="stop", template_id="t", template_name="t", template_version="v"),
        BuildContext(build_id="b", template_id="t", template_name="t", template_version="v"),
    ]
)


@pytest.mark.parametrize("type_name", [name for name in RESOURCES if name.startswith("devyard")])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), context=CONTEXTS)
def test_resources_answer_any_configuration(type_name: str, data: st.DataObject, context: BuildContext) -> None:
    block = RESOURCES[type_name].block
    job = ProviderJob(context)
    service = ProviderService(None, lambda: job)
    vague = data.draw(of_block(block, may_be_unknown=True))
    request = pb.ValidateResourceTypeConfig.Request(type_name=type_name, config=encode(block, vague))
    run(service.validate_resource_type_config(request))
    nothing = encode(block, None)
    planned = run(
        service.plan_resource_change(
            pb.PlanResourceChange.Request(
                type_name=type_name,
                prior_state=nothing,
                config=encode(block, vague),
                proposed_new_state=encode(block, vague),
            )
        )
    )
    plan = decode(block, planned.planned_state)
    assert plan is not None
    for name, attribute in block.attributes.items():
        if attribute.mode != "computed" and vague[name] is not None:
            assert plan[name] == vague[name]

    exact = data.draw(of_block(block, may_be_unknown=False))
    applied = run(
        service.apply_resource_change(
            pb.ApplyResourceChange.Request(
                type_name=type_name,
                prior_state=nothing,
                config=encode(block, exact),
                planned_state=encode(block, fill_defaults(block, exact)),
            )
        )
    )
    state = decode(block, applied.new_state)
    if applied.diagnostics:
        assert state is None
        return
    assert state is not None
    assert not has_unknown(state)
    again = run(
        service.plan_resource_change(
            pb.PlanResourceChange.Request(
                type_name=type_name,
                prior_state=applied.new_state,
                config=encode(block, exact),
                proposed_new_state=applied.new_state,
            )
        )
    )
    assert not again.requires_replace
    assert decode(block, again.planned_state) == state


@pytest.mark.parametrize("type_name", [name for name in DATA_SOURCES if name.startswith("coder")])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), context=CONTEXTS)
def test_data_sources_answer_any_configuration(type_name: str, data: st.DataObject, context: BuildContext) -> None:
    block = DATA_SOURCES[type_name].block
    job = ProviderJob(context)
    service = ProviderService(None, lambda: job)
    vague = encode(block, data.draw(of_block(block, may_be_unknown=True)))
    run(
        service.validate_data_source_config(pb.ValidateDataSourceConfig.Request(type_name=type_name, config=vague))
    )
    exact = encode(block, data.draw(of_block(block, may_be_unknown=False)))
    checked = run(
        service.validate_data_source_config(pb.ValidateDataSourceConfig.Request(type_name=type_name, config=exact))
    )
    if checked.diagnostics:
        return  # Terraform does not read what it was told is wrong
    read = run(service.read_data_source(pb.ReadDataSource.Request(type_name=type_name, config=exact)))
    state = decode(block, read.state)
    assert state is not None
    assert not has_unknown(state)
    if context.is_form:
        assert not read.diagnostics


@pytest.mark.parametrize(
    ("url", "host", "expected"),
    [
        ("http://10.0.0.1:7080", "relay", "http://relay:7080"),
        ("https://dev.example.com", "relay", "https://relay"),
        ("https://dev.example.com/sub", "relay", "https://relay/sub"),
    ],
)
def test_host_replaces_host_only(url: str, host: str, expected: str) -> None:
    assert replace_host(url, host) == expected
