from datetime import UTC, datetime
from uuid import UUID

from devyard.agent.outbox import Outbox, Report
from devyard.wire.agentlink import Lifecycle, LogLine, Logs, Metadata, MetadataValue, Stats
from devyard.wire.enums import AgentLifecycle

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SOURCE = UUID(int=1)


def state(name: AgentLifecycle) -> Lifecycle:
    return Lifecycle(0, name, NOW)


def logs(text: str) -> Logs:
    return Logs(0, SOURCE, [LogLine(NOW, text)])


def stats() -> Stats:
    return Stats(0, 0, 0, 0, 0, 0, 0, 0, -1.0)


def metadata(value: str) -> Metadata:
    return Metadata(0, [MetadataValue("k", value, "", NOW)])


def take_all(outbox: Outbox) -> list[Report]:
    taken: list[Report] = []
    while (report := outbox.take()) is not None:
        taken.append(report)
    return taken


def test_reports_are_numbered_in_order_and_forgotten_when_stored() -> None:
    outbox = Outbox()
    outbox.put(state("starting"))
    outbox.put(logs("a"))
    assert [report.seq for report in take_all(outbox)] == [1, 2]
    outbox.ack(1)
    assert not outbox.is_empty
    outbox.ack(2)
    assert outbox.is_empty


def test_what_was_not_stored_is_sent_again_first_and_numbered_anew() -> None:
    outbox = Outbox()
    for name in ("starting", "ready", "shutting_down"):
        outbox.put(state(name))  # type: ignore[arg-type]
    first = [outbox.take(), outbox.take()]
    assert all(first)
    outbox.ack(1)
    outbox.reconnected()
    again = take_all(outbox)
    assert [(report.seq, report.state) for report in again if isinstance(report, Lifecycle)] == [
        (1, "ready"),
        (2, "shutting_down"),
    ]


def test_window_bounds_what_is_under_way() -> None:
    outbox = Outbox(window=2)
    for _ in range(3):
        outbox.put(stats())
    assert len(take_all(outbox)) == 2
    outbox.ack(1)
    assert len(take_all(outbox)) == 1


def test_measurements_go_first_then_logs_never_states() -> None:
    outbox = Outbox(max_bytes=1000)
    outbox.put(state("starting"))
    outbox.put(stats())
    outbox.put(metadata("x" * 200))
    outbox.put(logs("l" * 300))
    outbox.put(logs("m" * 300))
    kinds = [type(report).__name__ for report in take_all(outbox)]
    assert kinds == ["Lifecycle", "Logs", "Logs"]
    for _ in range(20):
        outbox.put(state("ready"))
    outbox.reconnected()
    kinds = [type(report).__name__ for report in take_all(outbox)]
    assert kinds == ["Lifecycle"] * 21
    assert outbox.dropped == 4
