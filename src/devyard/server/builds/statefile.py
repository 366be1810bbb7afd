"""Terraform states (format 4) as far as the server looks into them: the addresses they hold, one without some.

Pure. Invariant: what is not struck stays as it was, byte order of the JSON aside.
"""

from collections.abc import Collection, Iterator
from typing import Any

import msgspec


def list_addresses(state: bytes) -> list[str]:
    """The addresses of the managed resources. Raises ValueError for what is no state of format 4."""
    return [address for _, _, address in _walk(_decode(state))] if state.strip() else []


def strike(state: bytes, addresses: Collection[str]) -> bytes:
    """The state without these resources, one serial newer. Raises ValueError as above."""
    document = _decode(state)
    struck = {id(instance) for _, instance, address in _walk(document) if address in addresses}
    for resource in document["resources"]:
        resource["instances"] = [one for one in resource.get("instances", []) if id(one) not in struck]
    document["resources"] = [one for one in document["resources"] if one["instances"] or one["mode"] == "data"]
    document["serial"] = int(document["serial"]) + 1
    return msgspec.json.encode(document)


def _decode(state: bytes) -> dict[str, Any]:
    document = msgspec.json.decode(state)
    if not isinstance(document, dict) or document.get("version") != 4 or not document.get("lineage"):
        raise ValueError("it is no Terraform state of format 4")
    if not isinstance(document.setdefault("resources", []), list):
        raise ValueError("its resources are no list")
    return document


def _walk(document: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any], str]]:
    """Resource, instance and address of everything that Terraform manages."""
    try:
        for resource in document["resources"]:
            if resource["mode"] != "managed":
                continue
            base = ".".join(
                part for part in (resource.get("module", ""), resource["type"], resource["name"]) if part
            )
            for instance in resource.get("instances", []):
                key = instance.get("index_key")
                suffix = "" if key is None else f"[{msgspec.json.encode(key).decode()}]"
                yield resource, instance, base + suffix
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"a resource in it can't be read ({error})") from None
