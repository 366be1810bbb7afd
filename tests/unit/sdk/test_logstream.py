"""Following logs over real WebSockets: order, reconnects without a gap or a double, and the way without them."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

from devyard.sdk.client import Client
from devyard.sdk.logstream import follow_job_log
from devyard.wire.jobs import ProvisionerJobLog
from tests.unit.cli.fakeapi import NOW, FakeApi

PATH = "/workspacebuilds/1/logs"


def make_line(number: int) -> dict[str, object]:
    return {
        "id": number,
        "created_at": NOW.isoformat(),
        "log_source": "provisioner",
        "log_level": "info",
        "stage": "Apply",
        "output": f"line {number}",
    }


@contextmanager
def log_server(cuts_after: list[int], total: int) -> Iterator[tuple[str, list[str]]]:
    """Serves `total` lines; the n-th connection is cut without a close after `cuts_after[n]` lines."""
    asked: list[str] = []
    cuts = iter(cuts_after)

    def handle(connection: ServerConnection) -> None:
        assert connection.request is not None
        asked.append(connection.request.path)
        after = int(connection.request.path.rpartition("after=")[2])
        cut = next(cuts, 0)
        for sent, number in enumerate(range(after + 1, total + 1)):
            if cut and sent == cut:
                connection.socket.close()
                return
            connection.send(json.dumps(make_line(number)))

    def rest(connection: ServerConnection, request: Request) -> Response | None:
        if "follow" in request.path:
            return None
        return connection.respond(200, "[]")

    with serve(handle, "127.0.0.1", 0, process_request=rest) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.socket.getsockname()[1]}", asked
        server.shutdown()


@pytest.mark.parametrize("cuts", [[], [2], [1, 2, 1]])
def test_every_line_once_and_in_order(cuts: list[int]) -> None:
    with log_server(cuts, 6) as (url, asked):
        seen = 0

        def is_over() -> bool:
            return seen == 6

        for line in follow_job_log(Client(url, "t"), PATH, is_over):
            seen += 1
            assert line.id == seen
        assert seen == 6
        assert len(asked) == len(cuts) + 1
        assert asked[0].startswith(f"/api/v2{PATH}?follow")


def test_without_websockets_the_same_lines_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("devyard.sdk.logstream.POLL_S", 0.001)
    lines = [ProvisionerJobLog(n, NOW, "provisioner", "info", "Apply", str(n)) for n in (1, 2, 3)]
    with FakeApi() as api:
        polls = 0

        def answer(asked):  # type: ignore[no-untyped-def]
            nonlocal polls
            if "follow" in asked.query:
                return 403, {"message": "no upgrades here"}
            polls += 1
            after = int(asked.query.get("after", 0))
            return 200, [line for line in lines[:polls] if line.id > after]

        api.on(f"GET {PATH}", answer)
        found = list(follow_job_log(Client(api.url), PATH, lambda: polls >= 2))
    assert [line.id for line in found] == [1, 2, 3]
