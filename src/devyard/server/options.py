"""The machinery behind settings: what an option is, and how its text becomes a value.

An option is a field of a struct, annotated with `Option`. Text comes from a flag, an environment variable or a
YAML file; `read_value` checks it against type, bounds and allowed values and names all three when it refuses.
settings.py owns the options themselves.
"""

import datetime as dt
import ipaddress
import re
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin

import msgspec

ENVIRONMENT_PREFIXES = ("DEVYARD_", "CODER_")
_DURATION_PARTS = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_MISSING: Any = object()


class Option(msgspec.Struct, frozen=True, kw_only=True):
    """What the annotation of a settings field says, besides its type and default."""

    help: str
    is_secret: bool = False
    minimum: int | None = None
    maximum: int | None = None
    shape: Literal["plain", "address", "url", "postgres_url", "path", "email", "name"] = "plain"
    default_text: str = ""
    """How the documentation names a default that is worked out at start."""


class OptionField(NamedTuple):
    """One option with everything derived from its field."""

    name: str
    type: Any
    default: Any
    option: Option

    @property
    def flag(self) -> str:
        """`--http-address`"""
        return "--" + self.name.replace("_", "-")

    @property
    def variables(self) -> tuple[str, ...]:
        """The environment variables, in order of precedence."""
        return tuple(prefix + self.name.upper() for prefix in ENVIRONMENT_PREFIXES)

    @property
    def choices(self) -> tuple[str, ...]:
        """The allowed values where they can be listed."""
        inner = strip_optional(self.type)
        return get_args(inner) if get_origin(inner) is Literal else ()


class OptionError(Exception):
    """A value that cannot be used; the message names option, source and what is allowed."""


def list_option_fields(struct: type[msgspec.Struct]) -> list[OptionField]:
    """The options of a settings struct, in order."""
    hints = typing.get_type_hints(struct, include_extras=True)
    fields = []
    for field in msgspec.structs.fields(struct):
        inner, *notes = get_args(hints[field.name])
        option = next(note for note in notes if isinstance(note, Option))
        default = None if field.default is msgspec.NODEFAULT else field.default
        fields.append(OptionField(field.name, inner, default, option))
    return fields


def read_value(field: OptionField, raw: object, source: str) -> Any:
    """The typed value of `raw` (text, or what YAML made of it). Raises OptionError that names `source`."""
    try:
        return _read(field, raw)
    except ValueError as error:
        shown = "" if field.option.is_secret else f" {_shorten(raw)}"
        raise OptionError(f"{source}: the value{shown} cannot be used for {field.name}: {error}.") from None


def parse_duration(text: str) -> dt.timedelta:
    """`90s`, `24h`, `1h30m`, `7d` (also `ms`); a bare `0` needs no unit. Raises ValueError."""
    if text == "0":
        return dt.timedelta(0)
    parts = _DURATION_PARTS.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError("a duration such as 30s, 15m, 24h, 7d or 1h30m is allowed")
    return dt.timedelta(seconds=sum(float(number) * _SECONDS[unit] for number, unit in parts))


def format_duration(value: dt.timedelta) -> str:
    """The text that `parse_duration` reads back, in the largest units."""
    left = round(value.total_seconds() * 1000)
    text = ""
    for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, left = divmod(left, size)
        if count:
            text += f"{count}{unit}"
    return text or "0"


def split_address(text: str) -> tuple[str, int]:
    """Host and port of `host:port`, `:port`, `[::1]:port`; port 0 lets the system choose. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        ipaddress.IPv6Address(host)
    elif ":" in host:
        raise ValueError("an IPv6 address needs brackets, as in [::1]:7080")
    if not colon or not port.isdigit() or int(port) > 65535 or (host and not re.fullmatch(r"[\w.:-]+", host)):
        raise ValueError("host:port is allowed, as in 127.0.0.1:7080 or 0.0.0.0:80")
    return host or "0.0.0.0", int(port)  # noqa: S104 (`:7080` means every address)


def strip_optional(type_: Any) -> Any:
    """`T` of `T | None`."""
    if get_origin(type_) in (typing.Union, types.UnionType):
        return next(inner for inner in get_args(type_) if inner is not type(None))
    return type_


def _read(field: OptionField, raw: object) -> Any:
    inner = strip_optional(field.type)
    if inner is bool:
        return _read_bool(raw)
    if inner is int:
        return _read_int(field, raw)
    if isinstance(raw, bool) or not isinstance(raw, str | int | float):
        raise ValueError("text is allowed")
    text = str(raw).strip()
    if not text:
        raise ValueError("it is empty; leave the option out for its default")
    if inner is dt.timedelta:
        return parse_duration(text)
    if field.choices:
        if text not in field.choices:
            raise ValueError(f"allowed is {_join_or(field.choices)}")
        return text
    _check_shape(field, text)
    return Path(text).expanduser() if inner is Path else text


def _read_bool(raw: object) -> bool:
    table: Mapping[object, bool] = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    value = raw if isinstance(raw, bool) else table.get(str(raw).strip().lower(), _MISSING)
    if value is _MISSING:
        raise ValueError("true or false is allowed")
    return bool(value)


def _read_int(field: OptionField, raw: object) -> int:
    low, high = field.option.minimum, field.option.maximum
    allowed = (
        "a whole number"
        + (f" from {low}" if low is not None else "")
        + (f" to {high}" if high is not None else "")
    )
    if isinstance(raw, bool) or not re.fullmatch(r"-?\d{1,12}", str(raw).strip()):
        raise ValueError(f"{allowed} is allowed")
    value = int(str(raw))
    if (low is not None and value < low) or (high is not None and value > high):
        raise ValueError(f"{allowed} is allowed")
    return value


def _check_shape(field: OptionField, text: str) -> None:
    shape = field.option.shape
    if not text.isprintable():
        raise ValueError("printable text is allowed")
    if shape == "address":
        split_address(text)
    elif shape == "url" and not re.fullmatch(r"https?://[^\s/@]+(/[^\s?#]*)?", text):
        raise ValueError("an http:// or https:// address is allowed, as in https://dev.example.com")
    elif shape == "postgres_url" and not re.match(r"postgres(ql)?://", text):
        raise ValueError("an address such as postgresql://user:password@host:5432/database is allowed")
    elif shape == "email" and not re.fullmatch(r"[^@\s]+@[^@\s]+", text):
        raise ValueError("an e-mail address is allowed")
    elif shape == "name" and not re.fullmatch(r"[a-zA-Z0-9]+(?:-[a-zA-Z0-9]+)*", text):
        raise ValueError("letters, digits and single hyphens between them are allowed")


def _join_or(values: tuple[str, ...]) -> str:
    return " or ".join([", ".join(values[:-1]), values[-1]]) if len(values) > 1 else values[0]


def _shorten(raw: object) -> str:
    text = repr(raw)
    return text if len(text) <= 80 else text[:79] + "…"
