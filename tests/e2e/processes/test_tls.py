"""Streams through a reverse proxy that speaks TLS, as most installations have one in front."""

import asyncio
import datetime as dt
import ipaddress
import socket
import ssl
import threading

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from devyard.net import client, dial
from devyard.net.upgrade import RelayRefusedError, StreamError
from tests.e2e.processes.harness import Server, ticket


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "all.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + built.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture(scope="module")
def https_url(tmp_path_factory, certificate):
    """A real server behind a TLS terminator."""
    server = Server(tmp_path_factory.mktemp("server"))
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    async def copy(reader, writer):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def terminate(reader, writer):
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", server.port)
        await asyncio.gather(copy(reader, inner_writer), copy(inner_reader, writer), return_exceptions=True)

    starting = asyncio.start_server(terminate, "127.0.0.1", 0, ssl=context)
    terminator = asyncio.run_coroutine_threadsafe(starting, loop).result()
    yield f"https://127.0.0.1:{terminator.sockets[0].getsockname()[1]}"
    loop.call_soon_threadsafe(loop.stop)
    assert server.stop() == 0


@pytest.fixture
def tls(certificate):
    return ssl.create_default_context(cafile=str(certificate))


async def echo(opened):
    sock = await opened.accept()
    loop = asyncio.get_running_loop()
    while data := await loop.sock_recv(sock, 65536):
        await loop.sock_sendall(sock, data)


async def test_agent_and_both_clients_over_tls(https_url, tls):
    import uuid

    agent_id = uuid.uuid4()
    serving = [
        asyncio.ensure_future(dial.serve_spare(https_url, ticket("agent", agent_id), echo, tls=tls))
        for _ in range(2)
    ]
    data = bytes(range(256)) * 4096
    sock = await dial.open_stream(https_url, ticket("client", agent_id), client.Head("ping"), tls=tls)
    loop = asyncio.get_running_loop()
    sending = asyncio.ensure_future(loop.sock_sendall(sock, data))
    got = b""
    while len(got) < len(data):
        got += await loop.sock_recv(sock, 65536)
    await sending
    assert got == data
    sock.close()

    def blocking():
        with client.open_stream(https_url, ticket("client", agent_id), client.Head("ping"), tls=tls) as stream:
            stream.sendall(b"hello")
            return stream.recv(100)

    assert await asyncio.to_thread(blocking) == b"hello"
    await asyncio.wait_for(asyncio.gather(*serving), 10)


async def test_errors_over_tls(https_url, tls):
    import uuid

    with pytest.raises(RelayRefusedError, match="malformed"):
        await dial.dial_agent_spare(https_url, "nonsense", tls=tls)
    with pytest.raises(RelayRefusedError, match="malformed"):
        await asyncio.to_thread(client.open_stream, https_url, "nonsense", client.Head("ssh"), tls=tls)
    untrusted = ticket("agent", uuid.uuid4())
    with pytest.raises(StreamError, match="certificate"):
        await dial.dial_agent_spare(https_url, untrusted)
    with pytest.raises(StreamError, match="certificate"):
        await asyncio.to_thread(client.open_stream, https_url, untrusted, client.Head("ssh"))


async def test_nobody_there():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(StreamError, match="cannot be reached"):
        await dial.dial_agent_spare(f"http://127.0.0.1:{port}", "x")
    with pytest.raises(StreamError, match="cannot be reached"):
        await asyncio.to_thread(client.open_stream, f"http://127.0.0.1:{port}", "x", client.Head("ssh"))


async def test_a_relay_that_never_answers():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(StreamError, match=r"0\.3 s"):
            await dial.dial_agent_spare(url, "x", timeout_s=0.3)
        with pytest.raises(StreamError, match=r"0\.3 s"):
            await asyncio.to_thread(client.open_stream, url, "x", client.Head("ssh"), timeout_s=0.3)
