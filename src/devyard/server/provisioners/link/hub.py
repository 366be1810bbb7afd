"""All provisioners' connections of this process. Called by the route and by the server's end."""

import asyncio

from devyard.server.http.streams import AnySocket
from devyard.server.provisioners.link.connection import ProvisionerConnection
from devyard.server.provisioners.signin import Provisioner
from devyard.server.services import Services


class ProvisionerHub:
    """All provisioners' connections of this process; draining them is part of the server's end."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._connections: set[ProvisionerConnection] = set()

    async def serve(self, socket: AnySocket, principal: Provisioner) -> None:
        """Serve one signed-in provisioner to its end."""
        await socket.accept()
        connection = ProvisionerConnection(socket, self._services, principal)
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)

    async def drain(self) -> None:
        """Tell every provisioner to go elsewhere."""
        await asyncio.gather(*(connection.drain() for connection in list(self._connections)))
