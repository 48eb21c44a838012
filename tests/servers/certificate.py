"""A certificate that signs itself, for servers on this machine: made for one test, in files as servers want them."""

from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import NamedTuple, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.hazmat.primitives.serialization.pkcs12 import serialize_key_and_certificates
from cryptography.x509.oid import NameOID

SECRET = "keys-of-one-test"  # of the key store: Java wants one
_DAY = timedelta(days=1)


class Certificate(NamedTuple):
    """Files: the certificate, its key, both in one, and both as a key store."""

    certificate: Path
    key: Path
    both: Path
    store: Path

    @classmethod
    def make(cls, folder: Path) -> Self:
        """Make one for 127.0.0.1."""
        key = ec.generate_private_key(ec.SECP256R1())
        signed = _signed(key)
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        public = signed.public_bytes(Encoding.PEM)
        made = cls(*(folder / name for name in ("server.pem", "key.pem", "both.pem", "store.p12")))
        made.certificate.write_bytes(public)
        made.key.write_bytes(private)
        made.both.write_bytes(private + public)
        sealed = BestAvailableEncryption(SECRET.encode())
        made.store.write_bytes(serialize_key_and_certificates(b"server", key, signed, None, sealed))
        return made


def _signed(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "eventkit tests")])
    now = datetime.now(UTC)
    hosts = [x509.IPAddress(IPv4Address("127.0.0.1")), x509.DNSName("localhost")]
    return (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - _DAY, now + _DAY)
        .add_extension(x509.SubjectAlternativeName(hosts), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
