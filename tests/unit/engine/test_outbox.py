from datetime import UTC, datetime
from uuid import uuid4

from devyard.provisioner.link.outbox import LINES_PER_MESSAGE, MAX_LINES, MAX_UNACKNOWLEDGED, Outbox
from devyard.wire.provisionerlink import BuildDone, InFlight, JobLogLine, Logs, StateSaved

JOB, LEASE = uuid4(), uuid4()
DONE = BuildDone(job_id=JOB, lease_id=LEASE, seq=0, state=b"final", resources=())


def line(text: str) -> JobLogLine:
    return JobLogLine(datetime.now(UTC), "provisioner", "info", "s", text)


def sent(outbox: Outbox) -> list[object]:
    """What was taken, in short."""
    found: list[object] = []
    for message in outbox.take():
        if isinstance(message, Logs):
            found.append([entry.output for entry in message.lines])
        else:
            found.append((type(message).__name__, message.seq, message.state))
    return found


def test_lines_come_before_the_result() -> None:
    outbox = Outbox(JOB, LEASE)
    outbox.add_line(line("a"))
    outbox.finish(DONE)
    assert outbox.is_urgent
    assert sent(outbox) == [["a"], ("BuildDone", 2, b"final")]
    assert sent(outbox) == []
    outbox.acknowledge(2)
    assert outbox.is_settled


def test_one_state_at_a_time_and_then_the_newest() -> None:
    outbox = Outbox(JOB, LEASE)
    outbox.save_state(b"1")
    assert sent(outbox) == [("StateSaved", 1, b"1")]
    outbox.save_state(b"2")
    outbox.save_state(b"3")
    assert not outbox.is_urgent
    assert sent(outbox) == []
    outbox.acknowledge(1)
    assert outbox.is_urgent
    assert sent(outbox) == [("StateSaved", 2, b"3")]


def test_result_takes_the_place_of_a_waiting_state() -> None:
    outbox = Outbox(JOB, LEASE)
    outbox.save_state(b"1")
    outbox.take()
    outbox.save_state(b"2")
    outbox.finish(DONE)
    outbox.save_state(b"late")
    assert sent(outbox) == [("BuildDone", 2, b"final")]
    outbox.acknowledge(1)
    assert not outbox.is_settled


def test_after_a_cut_the_unacknowledged_is_sent_again() -> None:
    outbox = Outbox(JOB, LEASE)
    outbox.save_state(b"1")
    outbox.take()
    outbox.rewind()
    assert sent(outbox) == [("StateSaved", 2, b"1")]
    outbox.finish(DONE)
    outbox.take()
    outbox.rewind()
    assert sent(outbox) == [("BuildDone", 3, b"final")]


def test_lines_are_split_and_bounded() -> None:
    outbox = Outbox(JOB, LEASE)
    for number in range(MAX_LINES + 5):
        outbox.add_line(line(str(number)))
    messages = outbox.take()
    assert all(isinstance(message, Logs) and len(message.lines) <= LINES_PER_MESSAGE for message in messages)
    assert not any(isinstance(message, StateSaved) for message in messages)
    first = messages[0]
    assert isinstance(first, Logs)
    assert first.lines[0].output == "5 lines are missing here: the server was away for too long.\n5"


def in_flight(outbox: Outbox) -> list[tuple[str, ...]]:
    return [message.creating for message in outbox.take() if isinstance(message, InFlight)]


def test_a_line_leaves_after_the_state_that_was_saved_before_it() -> None:
    outbox = Outbox(JOB, LEASE)
    outbox.save_state(b"1")
    outbox.add_line(line("a"))
    assert sent(outbox) == [("StateSaved", 1, b"1"), ["a"]]
    outbox.save_state(b"2")
    outbox.add_line(line("b"))
    assert sent(outbox) == [], "one state is on its way"
    outbox.acknowledge(1)
    assert sent(outbox) == [("StateSaved", 3, b"2"), ["b"]]


def test_the_end_does_not_overtake_a_state_that_lines_wait_for() -> None:
    outbox = Outbox(JOB, LEASE)
    outbox.save_state(b"1")
    outbox.take()
    outbox.save_state(b"2")
    outbox.add_line(line("made"))
    outbox.finish(DONE)
    assert sent(outbox) == [("StateSaved", 2, b"2"), ["made"], ("BuildDone", 4, b"final")]


def test_lines_are_sent_again_under_their_number_until_they_are_kept() -> None:
    outbox = Outbox(JOB, LEASE)
    outbox.add_line(line("a"))
    first = outbox.take()
    outbox.add_line(line("b"))
    second = outbox.take()
    outbox.rewind()
    assert outbox.take() == [*first, *second]
    outbox.acknowledge(1)
    outbox.rewind()
    assert outbox.take() == second


def test_lines_on_their_way_are_bounded() -> None:
    outbox = Outbox(JOB, LEASE)
    for number in range(MAX_UNACKNOWLEDGED + 5):
        outbox.add_line(line(str(number)))
        outbox.take()
    assert outbox.take() == []
    outbox.acknowledge(MAX_UNACKNOWLEDGED)
    assert sent(outbox) == [[str(MAX_UNACKNOWLEDGED + number) for number in range(5)]]


def test_in_flight_names_stay_until_the_state_that_shows_them_is_on_its_way() -> None:
    outbox = Outbox(JOB, LEASE)
    outbox.save_state(b"0")
    outbox.take()
    outbox.report_in_flight(("x", "y"), (), ())
    assert outbox.is_urgent
    assert in_flight(outbox) == [("x", "y")]
    outbox.save_state(b"1")
    outbox.report_in_flight(("z",), (), ())
    assert in_flight(outbox) == [("z", "x", "y")]
    assert not outbox.is_urgent
    outbox.acknowledge(1)
    assert [type(message).__name__ for message in outbox.take()] == ["StateSaved", "InFlight"]
    outbox.rewind()
    assert in_flight(outbox) == [("z",)]
