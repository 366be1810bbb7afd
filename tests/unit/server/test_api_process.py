"""What uvicorn is told in an API process, and what its WebSockets then take."""

from typing import Any

from devyard.server.processes.apiprocess import make_config
from devyard.wire import agentlink, provisionerlink


async def _no_app(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("not called")


def test_websockets_take_the_largest_message_and_notice_the_dead() -> None:
    config = make_config(_no_app)
    assert config.ws_max_size >= provisionerlink.MAX_MESSAGE_BYTES
    assert config.ws_max_size >= agentlink.MAX_MESSAGE_BYTES
    assert (config.ws_ping_interval, config.ws_ping_timeout) == (10, 20)
    assert not config.ws_per_message_deflate
    assert config.loaded
