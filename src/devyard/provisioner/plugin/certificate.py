"""The certificate of one run of the plugin, by which Terraform knows that it talks to the process it started.

Made anew at each start, never written to a file; the other side's comes through the environment. Invariant: the
key is known to this process alone. The certificate is put together here because the library's own builder takes
longer to import than all that stands before the handshake. Protocol: go-plugin's AutoMTLS,
github.com/hashicorp/go-plugin mtls.go; the certificate: RFC 5280; its encoding: X.690 (DER).
"""

import base64
import os
import ssl
import time
from typing import NamedTuple

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

_HOST = b"localhost"
_VALID_S = 30 * 86400
_CLOCK_ERROR_S = 300


class Certificate(NamedTuple):
    """`encoded` is the certificate as the handshake has it: DER in base64 without padding."""

    key_pem: bytes
    certificate_pem: bytes
    encoded: str


def make_certificate() -> Certificate:
    """A new key and a certificate for `localhost` signed by it, good for a month."""
    key = ec.generate_private_key(ec.SECP256R1())
    public_key = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    body = _body(public_key, int(time.time()))
    signature = key.sign(body, ec.ECDSA(hashes.SHA256()))
    encoded = base64.b64encode(_sequence(body, _SIGNED_BY, _tagged(0x03, b"\0" + signature)))
    return Certificate(
        key_pem=key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
        certificate_pem=b"-----BEGIN CERTIFICATE-----\n%b\n-----END CERTIFICATE-----\n" % encoded,
        encoded=encoded.rstrip(b"=").decode(),
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


def _tagged(tag: int, *parts: bytes) -> bytes:
    """One DER value."""
    content = b"".join(parts)
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    size = (length.bit_length() + 7) // 8
    return bytes((tag, 0x80 | size)) + length.to_bytes(size, "big") + content


def _sequence(*parts: bytes) -> bytes:
    return _tagged(0x30, *parts)


def _extension(oid: str, value: bytes, *, is_critical: bool = False) -> bytes:
    flag = b"\x01\x01\xff" if is_critical else b""
    return _sequence(bytes.fromhex(oid), flag, _tagged(0x04, value))


_SIGNED_BY = _sequence(bytes.fromhex("06082a8648ce3d040302"))  # ecdsa-with-SHA256
_NAME = _sequence(_tagged(0x31, _sequence(bytes.fromhex("0603550403"), _tagged(0x0C, _HOST))))  # common name
_EXTENSIONS = _tagged(
    0xA3,
    _sequence(
        _extension("0603551d11", _sequence(_tagged(0x82, _HOST))),  # alternative name
        _extension("0603551d13", _sequence(b"\x01\x01\xff"), is_critical=True),  # may sign (itself)
        _extension("0603551d0f", bytes.fromhex("030202ac"), is_critical=True),  # what the key is for
        _extension("0603551d25", _sequence(bytes.fromhex("06082b06010505070301" + "06082b06010505070302"))),
    ),
)


def _body(public_key: bytes, now: int) -> bytes:
    """What is signed: version 3, a random number, issuer, validity, subject, key, extensions."""
    number = _tagged(0x02, b"\x01" + os.urandom(15))
    times = (now - _CLOCK_ERROR_S, now + _VALID_S)
    validity = [_tagged(0x17, time.strftime("%y%m%d%H%M%SZ", time.gmtime(each)).encode()) for each in times]
    return _sequence(
        _tagged(0xA0, b"\x02\x01\x02"),
        number,
        _SIGNED_BY,
        _NAME,
        _sequence(*validity),
        _NAME,
        public_key,
        _EXTENSIONS,
    )
