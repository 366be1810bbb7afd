"""A build's time by stages, for `-v`: queue, init, plan, apply, the agent's connection, its scripts."""

from collections.abc import Iterable
from datetime import datetime

from devyard.cli.output import note, plain, render_pairs
from devyard.sdk import builds
from devyard.sdk.client import Client
from devyard.wire.errors import AppError
from devyard.wire.timings import BuildTimings
from devyard.wire.workspaces import WorkspaceBuild

Span = tuple[str, datetime, datetime]


def show_timings(client: Client, build: WorkspaceBuild) -> None:
    """The summary on stderr; a server that has none changes nothing."""
    try:
        found = builds.get_timings(client, build.id)
    except AppError:
        return
    pairs = summarize(found)
    if pairs:
        note("Timings")
        note("".join(f"  {line}\n" for line in render_pairs(pairs).splitlines()).rstrip("\n"))


def summarize(found: BuildTimings) -> list[tuple[str, str]]:
    """`(stage, "0.12 s")` in the order in which the stages began; the slowest resource of each stage is named."""
    spans: list[Span] = [(t.stage, t.started_at, t.ended_at) for t in found.provisioner_timings]
    spans += [
        (f"{t.stage} {t.workspace_agent_name}", t.started_at, t.ended_at) for t in found.agent_connection_timings
    ]
    spans += [
        (f"{t.stage}: {plain(t.display_name)}", t.started_at, t.ended_at) for t in found.agent_script_timings
    ]
    return [(stage, _describe(stage, began, ended, found)) for stage, began, ended in _merge(spans)]


def _merge(spans: Iterable[Span]) -> list[Span]:
    stages: dict[str, Span] = {}
    for stage, began, ended in spans:
        before = stages.get(stage, (stage, began, ended))
        stages[stage] = (stage, min(before[1], began), max(before[2], ended))
    return sorted(stages.values(), key=lambda span: span[1])


def _describe(stage: str, began: datetime, ended: datetime, found: BuildTimings) -> str:
    text = f"{(ended - began).total_seconds():.2f} s"
    resources = [t for t in found.provisioner_timings if t.stage == stage and t.resource and "." in t.resource]
    if len(resources) < 2:
        return text
    slowest = max(resources, key=lambda t: t.ended_at - t.started_at)
    took = (slowest.ended_at - slowest.started_at).total_seconds()
    return f"{text}, the slowest {plain(slowest.resource)} ({took:.2f} s)"
