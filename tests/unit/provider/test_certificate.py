"""The certificate that the plugin makes by hand, read by those who know the format."""

import base64
import contextlib
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from devyard.provisioner.plugin.certificate import Certificate, make_certificate, make_tls


def test_it_is_a_certificate_for_localhost_signed_by_itself() -> None:
    made = make_certificate()
    padding = "=" * (-len(made.encoded) % 4)
    certificate = x509.load_der_x509_certificate(base64.b64decode(made.encoded + padding))
    assert certificate == x509.load_pem_x509_certificate(made.certificate_pem)
    certificate.verify_directly_issued_by(certificate)
    assert certificate.version is x509.Version.v3
    assert isinstance(certificate.public_key(), ec.EllipticCurvePublicKey)
    now = datetime.now(UTC)
    assert certificate.not_valid_before_utc < now < now + timedelta(days=29) < certificate.not_valid_after_utc
    extensions = certificate.extensions
    assert extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(
        x509.DNSName
    ) == ["localhost"]
    assert extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.digital_signature, usage.key_encipherment, usage.key_agreement, usage.key_cert_sign) == (
        True,
    ) * 4
    assert (usage.content_commitment, usage.data_encipherment, usage.crl_sign) == (False,) * 3
    assert set(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == {
        ExtendedKeyUsageOID.SERVER_AUTH,
        ExtendedKeyUsageOID.CLIENT_AUTH,
    }


def _connect(tls: ssl.SSLContext, holder: Certificate, trusted: Certificate, key_file: Path) -> None:
    """A client with the certificate of `holder` shakes hands with `tls`. Raises SSLError."""
    key_file.write_bytes(holder.key_pem + holder.certificate_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=trusted.certificate_pem.decode())
    context.load_cert_chain(key_file)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = tls.wrap_bio(to_server, to_client, server_side=True)
    client = context.wrap_bio(to_client, to_server, server_hostname="localhost")
    for _ in range(5):
        for side in (client, server):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
    assert server.getpeercert(binary_form=True)


def test_only_the_holder_of_the_other_certificate_is_let_in(tmp_path: Path) -> None:
    ours, theirs, stranger = make_certificate(), make_certificate(), make_certificate()
    tls = make_tls(ours, theirs.certificate_pem.decode())
    _connect(tls, theirs, ours, tmp_path / "theirs")
    with pytest.raises(ssl.SSLError, match=r"(?i)certificate"):
        _connect(tls, stranger, ours, tmp_path / "stranger")
