"""Joins a stream with two file descriptors: what `ssh --stdio` does once everything is open.

Called by cli/ssh and port-forward. Plain poll(2), no event loop: an editor starts this for each
connection. Invariants: a direction reads only when all it read before is written, so memory is bounded and a
slow side slows the other; an end of input is passed on as a half-close; one thread touches the socket.
"""

import os
import select
import socket
import stat

import msgspec

CHUNK_BYTES = 256 * 1024
_GONE = select.POLLERR | select.POLLHUP | select.POLLNVAL


class Counts(msgspec.Struct):
    """Bytes moved so far: read by whoever shows them, written by the pump."""

    sent: int = 0
    received: int = 0


def pump(sock: socket.socket, source: int, sink: int, counts: Counts | None = None) -> None:
    """Moves bytes both ways until the stream ends or nobody reads `sink`; closes `sock`."""
    counts = counts or Counts()
    restore = [(fd, os.get_blocking(fd)) for fd in {source, sink} if _may_unblock(fd)]
    for fd, _ in restore:
        os.set_blocking(fd, False)
    try:
        sock.setblocking(False)
        _Pump(sock, source, sink, counts).run()
    except (ConnectionError, BrokenPipeError):
        pass
    finally:
        sock.close()
        for fd, was_blocking in restore:
            try:
                os.set_blocking(fd, was_blocking)
            except OSError:
                pass


def _may_unblock(fd: int) -> bool:
    """A pipe's or socket's end is this process's own; a terminal is shared with others."""
    mode = os.fstat(fd).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


class _Pump:
    def __init__(self, sock: socket.socket, source: int, sink: int, counts: Counts) -> None:
        self._sock, self._source, self._sink, self._counts = sock, source, sink, counts
        self._is_tls = type(sock) is not socket.socket
        self._outgoing = memoryview(b"")
        self._incoming = memoryview(b"")
        self._source_open = True
        self._stream_open = True

    def run(self) -> None:
        while self._stream_open or self._incoming:
            events = self._wait()
            if self._incoming and events.get(self._sink, 0) & (select.POLLOUT | _GONE):
                self._write_sink()
            if self._outgoing and events.get(self._sock.fileno(), 0):
                self._send()
            if self._source_open and not self._outgoing and events.get(self._source, 0):
                self._read_source()
            if self._stream_open and not self._incoming and self._has_received(events):
                self._receive()
            if not self._source_open and not self._outgoing and self._is_tls:
                return  # TLS has no half-close: the reader of an SSH stream that ends its input is done

    def _wait(self) -> dict[int, int]:
        poller = select.poll()
        interest: dict[int, int] = {}
        stream = self._sock.fileno()
        if self._source_open and not self._outgoing:
            interest[self._source] = select.POLLIN
        if self._outgoing:
            interest[stream] = select.POLLOUT
        if self._stream_open and not self._incoming:
            interest[stream] = interest.get(stream, 0) | select.POLLIN
        if self._incoming:
            interest[self._sink] = interest.get(self._sink, 0) | select.POLLOUT
        for fd, mask in interest.items():
            poller.register(fd, mask)
        is_pending = self._is_tls and not self._incoming and self._sock.pending() > 0  # type: ignore[attr-defined]
        return dict(poller.poll(0 if is_pending else None))

    def _has_received(self, events: dict[int, int]) -> bool:
        if events.get(self._sock.fileno(), 0) & (select.POLLIN | _GONE):
            return True
        return self._is_tls and self._sock.pending() > 0  # type: ignore[attr-defined]

    def _read_source(self) -> None:
        try:
            data = os.read(self._source, CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._outgoing = memoryview(data)
            self._send()
            return
        self._source_open = False
        if not self._is_tls:
            self._sock.shutdown(socket.SHUT_WR)

    def _send(self) -> None:
        try:
            count = self._sock.send(self._outgoing)
        except OSError as error:
            if _would_block(error):
                return
            raise
        self._counts.sent += count
        self._outgoing = self._outgoing[count:]

    def _receive(self) -> None:
        try:
            data = self._sock.recv(CHUNK_BYTES)
        except OSError as error:
            if _would_block(error):
                return
            raise
        if not data:
            self._stream_open = False
            return
        self._counts.received += len(data)
        self._incoming = memoryview(data)
        self._write_sink()

    def _write_sink(self) -> None:
        try:
            self._incoming = self._incoming[os.write(self._sink, self._incoming) :]
        except BlockingIOError:
            pass


def _would_block(error: OSError) -> bool:
    if isinstance(error, BlockingIOError):
        return True
    return type(error).__name__ in ("SSLWantReadError", "SSLWantWriteError")
