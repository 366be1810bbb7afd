"""What an API process runs: the seam between this folder and `devyard.server.app`."""

import importlib
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import msgspec

from devyard.server.settings import ServerSettings

DEFAULT_APP = "devyard.server.app:open_app"


class StartRefused(Exception):
    """The application can't serve as things are, and trying again would not help; the message says what to do."""


@dataclass(frozen=True)
class ServerApp:
    """An opened application: its ASGI callable, and the raw Ed25519 public keys of stream tickets by id."""

    asgi: Callable[..., Any]
    stream_keys: Mapping[str, bytes]


class Start(msgspec.Struct, frozen=True):
    """What the supervisor tells an API process over its control pipe."""

    settings: ServerSettings
    internal_key: str
    handover_path: str


OpenApp = Callable[..., AbstractAsyncContextManager[ServerApp]]
"""`open_app(settings: ServerSettings, *, internal_key: str)`; its context lasts as long as the process serves."""


def import_open_app(reference: str) -> OpenApp:
    """The factory named by `module:attribute`."""
    module, _, attribute = reference.partition(":")
    return cast(OpenApp, getattr(importlib.import_module(module), attribute))


def encode_start(start: Start) -> bytes:
    """One line for the control pipe."""
    return msgspec.json.encode(start, enc_hook=str) + b"\n"


def decode_start(line: bytes) -> Start:
    """The inverse of encode_start."""
    return msgspec.json.decode(line, type=Start, dec_hook=_decode_path)


def _decode_path(type_: type, value: object) -> object:
    if issubclass(type_, Path):
        return Path(str(value))
    raise NotImplementedError(type_)
