"""Which preset of a template version a new workspace takes: the named one, none, or the one chosen."""

from collections.abc import Sequence

import click

from devyard.cli.failures import CommandFailed
from devyard.cli.nearby import hint_nearest
from devyard.cli.output import note, plain
from devyard.wire.templates import Preset

NONE = "none"


def choose_preset(presets: Sequence[Preset], name: str, *, asks: bool) -> Preset | None:
    """The preset, or None. Without a name: a question on a terminal, elsewhere the default one if there is one.

    Raises CommandFailed for a name that the version lacks.
    """
    if name.lower() == NONE:
        return None
    if name:
        for preset in presets:
            if preset.Name == name:
                return preset
        there = ", ".join(p.Name for p in presets) or "none at all"
        near = hint_nearest(name, [p.Name for p in presets])
        raise CommandFailed(f"This template has no preset {name!r}; it has: {there}.{near}")
    default = next((preset for preset in presets if preset.Default), None)
    if not asks or not presets:
        if default:
            note(f"Preset: {plain(default.Name)} (the template's default; --preset none takes none)")
        return default
    return _ask(presets, default)


def _ask(presets: Sequence[Preset], default: Preset | None) -> Preset | None:
    note("\nPreset")
    for number, preset in enumerate(presets, 1):
        values = ", ".join(f"{p.Name}={p.Value}" for p in preset.Parameters)
        note(f"  {number}) {plain(preset.Name)}  {plain(values)[:100]}")
    note("  none) Choose every parameter")
    while True:
        answer = str(click.prompt("Preset", default=default.Name if default else NONE, err=True)).strip()
        if answer.lower() == NONE:
            return None
        for number, preset in enumerate(presets, 1):
            if answer in (preset.Name, str(number)):
                return preset
        note(f"Choose a number from 1 to {len(presets)}, a name, or {NONE}.")
