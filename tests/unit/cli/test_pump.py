"""The pump: every byte in both directions, half-closes, and no memory for a slow reader."""

import os
import socket
import threading

from devyard.cli.connect.pump import Counts, pump


def start(sock: socket.socket, source: int, sink: int, counts: Counts | None = None) -> threading.Thread:
    thread = threading.Thread(target=pump, args=(sock, source, sink, counts), daemon=True)
    thread.start()
    return thread


def test_bytes_cross_both_ways_and_the_end_is_passed_on() -> None:
    ours, theirs = socket.socketpair()
    source_read, source_write = os.pipe()
    sink_read, sink_write = os.pipe()
    counts = Counts()
    thread = start(ours, source_read, sink_write, counts)
    sent, returned = os.urandom(3_000_000), os.urandom(2_000_000)

    def feed() -> None:
        with os.fdopen(source_write, "wb") as file:
            file.write(sent)

    def answer() -> None:
        theirs.sendall(returned)

    collected: list[bytes] = []

    def collect() -> None:
        with os.fdopen(sink_read, "rb") as file:
            collected.append(file.read())

    threads = [threading.Thread(target=f, daemon=True) for f in (feed, answer, collect)]
    for each in threads:
        each.start()
    got = b""
    while chunk := theirs.recv(1 << 16):  # ends by the half-close
        got += chunk
    assert got == sent
    threads[1].join(10)
    theirs.close()
    thread.join(10)
    assert not thread.is_alive()
    os.close(sink_write)
    threads[2].join(10)
    assert collected == [returned]
    assert (counts.sent, counts.received) == (len(sent), len(returned))
    os.close(source_read)


def test_a_reader_that_stops_stops_the_sender() -> None:
    ours, theirs = socket.socketpair()
    source_read, source_write = os.pipe()
    sink_read, sink_write = os.pipe()
    counts = Counts()
    thread = start(ours, source_read, sink_write, counts)
    theirs.setblocking(False)
    pushed = 0
    try:
        for _ in range(10_000):
            pushed += theirs.send(b"x" * 65536)
            thread.join(0.0005)
    except BlockingIOError:
        pass
    assert pushed < 8 << 20
    assert counts.received <= pushed
    os.close(sink_read)
    theirs.close()
    thread.join(10)
    assert not thread.is_alive()
    for fd in (source_read, source_write, sink_write):
        os.close(fd)


def test_a_closed_stream_ends_it_and_blocking_is_restored() -> None:
    ours, theirs = socket.socketpair()
    source_read, source_write = os.pipe()
    sink_read, sink_write = os.pipe()
    theirs.sendall(b"last words")
    theirs.close()
    thread = start(ours, source_read, sink_write)
    thread.join(10)
    assert not thread.is_alive()
    assert os.read(sink_read, 100) == b"last words"
    assert os.get_blocking(source_read)
    assert os.get_blocking(sink_write)
    for fd in (source_read, source_write, sink_read, sink_write):
        os.close(fd)
