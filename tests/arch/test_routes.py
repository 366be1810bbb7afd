"""Rules that every route keeps: nothing blocks the event loop, and newer clients are understood."""

import inspect
import typing
from contextlib import nullcontext
from typing import Any

import msgspec
import msgspec.inspect
import pytest

from devyard.server.http.guard import list_handlers
from devyard.wire import agentlink, provisionerlink


def list_ours(app: Any) -> list[tuple[str, Any]]:
    """Our handlers with their paths; not the framework's pages of the schema, which a guard keeps from running."""
    return [(p, h) for p, h in list_handlers(app) if not h.fn.__module__.startswith("litestar.")]


def list_structs(types: list[Any]) -> set[type[msgspec.Struct]]:
    """Every struct that these types reach."""
    found: set[type[msgspec.Struct]] = set()

    def visit(info: Any) -> None:
        if isinstance(info, msgspec.inspect.StructType):
            if info.cls in found:
                return
            found.add(info.cls)
            for field in info.fields:
                visit(field.type)
            return
        for name in ("types", "item_types"):
            for inner in getattr(info, name, ()):
                visit(inner)
        for name in ("item_type", "key_type", "value_type"):
            if hasattr(info, name):
                visit(getattr(info, name))

    for type_ in types:
        visit(msgspec.inspect.type_info(type_))
    return found


def list_wire_types(app: Any) -> list[Any]:
    """The bodies that routes take and give, and the messages of both links."""
    found: list[Any] = [
        agentlink.AgentMessage,
        agentlink.ServerMessage,
        provisionerlink.ToProvisioner,
        provisionerlink.FromProvisioner,
    ]
    for _, handler in list_ours(app):
        hints = typing.get_type_hints(inspect.unwrap(handler.fn))
        for name, hint in hints.items():
            if name in ("data", "return"):
                arguments = typing.get_args(hint) if not isinstance(hint, type) else ()
                found += [t for t in (hint, *arguments) if isinstance(t, type) and issubclass(t, msgspec.Struct)]
    return found


async def test_no_handler_blocks_the_event_loop(app: Any) -> None:
    handlers = list_ours(app.litestar)
    assert len(handlers) > 120
    blocking = []
    for path, handler in handlers:
        function = inspect.unwrap(handler.fn)
        if not inspect.iscoroutinefunction(function) and not getattr(handler, "sync_to_thread", None):
            blocking.append(f"{handler} at {path}")
    assert blocking == []
    providers = {
        name: provide
        for _, handler in handlers
        for name, provide in handler.resolve_dependencies().items()
        if not inspect.iscoroutinefunction(provide.dependency)
    }
    assert providers == {}


async def test_unknown_fields_are_ignored(app: Any) -> None:
    """A client that is newer than the server (or the other way round) may send fields that are not known here."""
    structs = list_structs(list_wire_types(app.litestar))
    assert len(structs) > 100
    strict = [struct.__qualname__ for struct in structs if struct.__struct_config__.forbid_unknown_fields]
    assert strict == []
    tried = 0
    for struct in structs:
        config = struct.__struct_config__
        if config.array_like:
            continue
        body: dict[str, Any] = {"a_field_of_the_future": {"deep": [1]}}
        if config.tag is not None:
            body[config.tag_field] = config.tag
        is_incomplete = any(field.required for field in msgspec.structs.fields(struct))
        with (
            pytest.raises(msgspec.ValidationError, match="missing required field")
            if is_incomplete
            else nullcontext()
        ):
            msgspec.json.decode(msgspec.json.encode(body), type=struct)
        tried += 1
    assert tried > 100
