from datetime import UTC, datetime
from uuid import UUID

from devyard.agent import logs
from devyard.agent.logs import LogShipper
from devyard.agent.outbox import Outbox
from devyard.wire.agentlink import Logs

A, B = UUID(int=1), UUID(int=2)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def shipped(outbox: Outbox) -> list[Logs]:
    taken = []
    while (report := outbox.take()) is not None:
        assert isinstance(report, Logs)
        taken.append(report)
    return taken


async def test_lines_keep_their_order_and_are_batched() -> None:
    outbox = Outbox()
    shipper = LogShipper(outbox)
    for index in range(250):
        shipper.add(A, f"a{index}", at=NOW)
    shipper.add(B, "b", "error", at=NOW)
    shipper.flush()
    first, second, third = shipped(outbox)
    assert [len(message.lines) for message in (first, second, third)] == [200, 50, 1]
    assert (third.source_id, third.lines[0].level) == (B, "error")
    assert first.lines[199].output == "a199"


async def test_a_flood_is_bounded_and_says_so() -> None:
    outbox = Outbox()
    shipper = LogShipper(outbox)
    for _ in range(logs.MAX_WAITING_LINES + 5):
        shipper.add(A, "x", at=NOW)
    shipper.flush()
    lines = [line for message in shipped(outbox) for line in message.lines]
    assert len(lines) == logs.MAX_WAITING_LINES + 1
    assert lines[-1].output.startswith("… 5 lines")


async def test_more_than_the_server_keeps_is_not_sent() -> None:
    outbox = Outbox(window=10_000)
    shipper = LogShipper(outbox)
    for _ in range(3000):
        shipper.add(A, "y" * 999, at=NOW)
        shipper.flush()
    size = sum(len(line.output) + 1 for message in shipped(outbox) for line in message.lines)
    assert logs.LOG_BYTES_PER_AGENT < size <= logs.BUDGET_BYTES + 1000
