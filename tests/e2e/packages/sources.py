"""Where the tests' provider and module come from: mirrors and a registry that the test starts and shuts down."""

import hashlib
import http.server
import io
import json
import shlex
import ssl
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HOST = "registry.example.com"
NAME = f"{HOST}/acme/example"
VERSION = "1.0.0"
HERE = Path(__file__).parent
SOURCE = Path(__file__).parents[3] / "src"

MODULE = 'output "text" {\n  value = "hello"\n}\n'


def write_provider(directory: Path) -> None:
    """The provider's package: an executable, and the program that it runs."""
    directory.mkdir(parents=True)
    (directory / "testprovider.py").write_text((HERE / "testprovider.py").read_text())
    executable = directory / f"terraform-provider-example_v{VERSION}"
    python = f"PYTHONPATH={shlex.quote(str(SOURCE))} exec {shlex.quote(sys.executable)}"
    executable.write_text(f'#!/bin/sh\n{python} "$(dirname "$0")/testprovider.py"\n')
    executable.chmod(0o755)


def pack_module() -> bytes:
    """The module as its registry gives it out."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        entry = tarfile.TarInfo("main.tf")
        entry.size = len(MODULE)
        tar.addfile(entry, io.BytesIO(MODULE.encode()))
    return buffer.getvalue()


def zip_provider(directory: Path) -> bytes:
    """The provider's package as network mirrors give it out."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted(directory.iterdir()):
            archive.write(path, path.name)  # keeps the executable bit
    return buffer.getvalue()


def list_module_files(base: str) -> dict[str, bytes]:
    """The registry's protocol for modules, below `/v1/modules/`."""
    root = "/v1/modules/acme/words/any"
    versions = {"modules": [{"versions": [{"version": "1.2.0"}]}]}
    return {
        f"{root}/versions": json.dumps(versions).encode(),
        f"{root}/1.2.0/download": f"{base}/words.tar.gz".encode(),
        "/words.tar.gz": pack_module(),
    }


def list_mirror_files(package: bytes) -> dict[str, bytes]:
    """The protocol of provider mirrors."""
    zh = hashlib.sha256(package).hexdigest()
    archives = {"linux_amd64": {"url": "example.zip", "hashes": [f"zh:{zh}"]}}
    return {
        f"/{NAME}/index.json": json.dumps({"versions": {VERSION: {}}}).encode(),
        f"/{NAME}/{VERSION}.json": json.dumps({"archives": archives}).encode(),
        f"/{NAME}/example.zip": package,
    }


class Site:
    """A server of fixed files. `requests` are the paths that were asked for."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.files: dict[str, bytes] = {}
        self.requests: list[str] = []
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.requests.append(self.path)
                data = site.files.get(self.path)
                self.send_response(404 if data is None else 204 if self.path.endswith("/download") else 200)
                self.send_header("Content-Type", "application/json")
                if data is not None and self.path.endswith("/download"):
                    self.send_header("X-Terraform-Get", data.decode())
                    data = b""
                else:
                    self.send_header("Content-Length", str(len(data or b"")))
                self.end_headers()
                self.wfile.write(data or b"")

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if tls:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.server.server_port}"


@contextmanager
def serving(site: Site) -> Iterator[Site]:
    """Answers until the end of the body; then the port is closed."""
    thread = threading.Thread(target=site.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        site.server.shutdown()
        site.server.server_close()
        thread.join(10)


def make_certificate(directory: Path) -> tuple[ssl.SSLContext, Path]:
    """A certificate for 127.0.0.1, and the file of the authority that a client has to trust."""
    import ipaddress

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mirror of the tests")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(issuer_name=name, subject_name=name, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    bundle, secret = directory / "ca.pem", directory / "key.pem"
    bundle.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(bundle, secret)
    return context, bundle
