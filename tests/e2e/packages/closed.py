"""Runs a command in a network namespace that has nothing but its own loopback, and one way out: to the server.

Started inside the namespace: `closed.py SOCKET COMMAND…`. Connections to a port of the namespace's loopback are
passed to the unix socket, behind which the test passes them to the server; `{url}` in the command is that port's.
"""

import asyncio
import contextlib
import subprocess
import sys


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()


async def join(one: tuple, other: tuple) -> None:
    await asyncio.gather(pump(one[0], other[1]), pump(other[0], one[1]))


async def main(socket_path: str, command: list[str]) -> int:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await join((reader, writer), await asyncio.open_unix_connection(socket_path))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    process = await asyncio.create_subprocess_exec(*(word.replace("{url}", url) for word in command))
    return await process.wait()


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1], sys.argv[2:])))
