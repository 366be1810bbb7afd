"""The process that Terraform starts: `python -m tests.terraform_provider.executable SCHEMA.json`.

It prints the handshake of Terraform's plugins, serves on a unix socket in a directory of its own, and ends with
Terraform. Protocol: github.com/hashicorp/go-plugin, docs/internals.md.
"""

import base64
import os
import sys
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from devyard.provisioner.provider.protocol import tfplugin5_pb2 as pb
from tests.terraform_provider.schema import read_schema
from tests.terraform_provider.service import Service

COOKIE = ("TF_PLUGIN_MAGIC_COOKIE", "d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2")
CALLS = {
    "PrepareProviderConfig": pb.PrepareProviderConfig.Request,
    "Configure": pb.Configure.Request,
    "ValidateResourceTypeConfig": pb.ValidateResourceTypeConfig.Request,
    "ValidateDataSourceConfig": pb.ValidateDataSourceConfig.Request,
    "UpgradeResourceState": pb.UpgradeResourceState.Request,
    "ReadResource": pb.ReadResource.Request,
    "PlanResourceChange": pb.PlanResourceChange.Request,
    "ApplyResourceChange": pb.ApplyResourceChange.Request,
    "ReadDataSource": pb.ReadDataSource.Request,
    "GetSchema": pb.GetProviderSchema.Request,
    "Stop": pb.Stop.Request,
}


def main(schema: Path) -> None:
    """Serve until Terraform says that it is done, or is gone."""
    if os.environ.get(COOKIE[0]) != COOKIE[1]:
        sys.exit("This is a provider of Devyard's tests; Terraform starts it.")
    done = threading.Event()
    certificate, credentials = _make_credentials()
    server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.max_receive_message_length", 64 << 20)])
    server.add_generic_rpc_handlers(_handlers(Service(read_schema(schema)), done))
    with tempfile.TemporaryDirectory(prefix="dytp-") as directory:
        socket = f"{directory}/s"
        server.add_secure_port(f"unix:{socket}", credentials)
        server.start()
        print(f"1|5|unix|{socket}|grpc|{certificate}", flush=True)
        parent = os.getppid()
        while not done.wait(1) and os.getppid() == parent:
            pass
        server.stop(1).wait()


def _handlers(service: Service, done: threading.Event) -> list[Any]:
    def plain(call: Callable[[Any], Any]) -> Callable[[Any, grpc.ServicerContext], Any]:
        return lambda request, context: call(request)

    def shutdown(request: Any, context: grpc.ServicerContext) -> Any:
        done.set()
        return pb.Stop.Response()

    methods = {
        name: grpc.unary_unary_rpc_method_handler(
            plain(getattr(service, name)), type_.FromString, lambda answer: answer.SerializeToString()
        )
        for name, type_ in CALLS.items()
    }
    # The controller's messages are empty.
    end = grpc.unary_unary_rpc_method_handler(shutdown, pb.Stop.Request.FromString, lambda answer: b"")
    return [
        grpc.method_handlers_generic_handler("tfplugin5.Provider", methods),
        grpc.method_handlers_generic_handler("plugin.GRPCController", {"Shutdown": end}),
    ]


def _make_credentials() -> tuple[str, grpc.ServerCredentials]:
    """The certificate as the handshake has it, and what serves with it.

    Terraform's own certificate is not asked for: grpcio does not take its curve.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = certificate.public_bytes(serialization.Encoding.PEM)
    encoded = base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).rstrip(b"=").decode()
    return encoded, grpc.ssl_server_credentials([(private, public)])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
