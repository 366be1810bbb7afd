"""The certificate of one run of the plugin, by which Terraform knows that it talks to the process it started.

Made anew at each start, never written to a file; the other side's comes through the environment. Invariant: the
key is known to this process alone. Protocol: go-plugin's AutoMTLS, github.com/hashicorp/go-plugin mtls.go.
"""

import base64
import os
import ssl
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import (
    BasicConstraints,
    CertificateBuilder,
    DNSName,
    ExtendedKeyUsage,
    KeyUsage,
    Name,
    NameAttribute,
    SubjectAlternativeName,
    random_serial_number,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_HOST = "localhost"
_VALID_FOR = timedelta(days=30)
_CLOCK_ERROR = timedelta(minutes=5)


class Certificate(NamedTuple):
    """`encoded` is the certificate as the handshake has it: DER in base64 without padding."""

    key_pem: bytes
    certificate_pem: bytes
    encoded: str


def make_certificate() -> Certificate:
    """A new key and a certificate for `localhost` signed by it, good for a month."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = Name([NameAttribute(NameOID.COMMON_NAME, _HOST)])
    now = datetime.now(UTC)
    certificate = (
        CertificateBuilder(issuer_name=name, subject_name=name, public_key=key.public_key())
        .serial_number(random_serial_number())
        .not_valid_before(now - _CLOCK_ERROR)
        .not_valid_after(now + _VALID_FOR)
        .add_extension(SubjectAlternativeName([DNSName(_HOST)]), critical=False)
        .add_extension(BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_KEY_USAGE, critical=True)
        .add_extension(_EXTENDED_USAGE, critical=False)
        .sign(key, hashes.SHA256())
    )
    encoded = base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).rstrip(b"=").decode()
    return Certificate(
        key_pem=key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
        certificate_pem=certificate.public_bytes(serialization.Encoding.PEM),
        encoded=encoded,
    )


def make_tls(certificate: Certificate, client_certificate: str) -> ssl.SSLContext:
    """Lets in the holder of `client_certificate` (PEM) and nobody else.

    Python's own TLS and not grpcio's, which refuses the curve of the certificates that Terraform makes (P-521).
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=client_certificate)
    # ssl reads keys from files only: this one lies in memory and has no name.
    with os.fdopen(os.memfd_create("key", os.MFD_CLOEXEC), "wb") as file:
        file.write(certificate.key_pem + certificate.certificate_pem)
        file.flush()
        context.load_cert_chain(f"/proc/self/fd/{file.fileno()}")
    return context


_KEY_USAGE = KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=True,
    data_encipherment=False,
    key_agreement=True,
    key_cert_sign=True,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)
_EXTENDED_USAGE = ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH])
