"""Certificates of our own making: an authority of this gateway, and its services' certificate (X.509, RFC 5280)."""

import datetime
import hashlib
import ipaddress
import socket
import ssl
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from contracts.private import keep, keep_new

YEARS_OF_AUTHORITY, DAYS_OF_SERVICES, RENEW_DAYS = 20, 800, 90
"""How long each is good; the services' is made anew at a start so long before its end."""
Key = ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class Certificates:
    """PEM files: the root that others trust, and what the services show."""

    authority: Path
    certificate: Path
    key: Path


def certificates(folder: Path, names: Iterable[str]) -> Certificates:
    """Those in the folder, made or renewed where that is needed; the services' names are this host's and ``names``.

    The authority stays: who trusts it need not be told again. Raises ``OSError``.
    """
    found = Certificates(folder / "authority.pem", folder / "services.pem", folder / "services.key")
    asked = set(names)
    if _is_good(found, asked):
        return found
    root_key = folder / "private" / "authority.key"
    root_key.parent.mkdir(parents=True, exist_ok=True)
    # Of several services that start at once in a new folder, all use the key, and the root, of the first.
    if not root_key.is_file():
        keep_new(root_key, _pem_of(ec.generate_private_key(ec.SECP256R1())))
    signer = serialization.load_pem_private_key(root_key.read_bytes(), None)
    if not isinstance(signer, Key):
        raise OSError(f"{root_key} is no key of ours: remove the folder {folder} to have new ones made")
    if not found.authority.is_file():
        keep_new(found.authority, _root(signer).public_bytes(serialization.Encoding.PEM), 0o644)  # all may know it
    root = x509.load_pem_x509_certificate(found.authority.read_bytes())
    if root.public_key() != signer.public_key():
        raise OSError(
            f"{root_key} is not the key of {found.authority}: put the right one back, or remove the folder {folder} to"
            " have new ones made (then every instrument must be enrolled anew)"
        )
    key = ec.generate_private_key(ec.SECP256R1())
    shown = _leaf(key, sorted(_own_names() | asked), root, signer).public_bytes(serialization.Encoding.PEM)
    keep(found.key, _pem_of(key))
    keep(found.certificate, shown + found.authority.read_bytes())
    return found


def fingerprint(pem: str) -> str:
    """SHA-256 of the first certificate in a PEM text, hexadecimal."""
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem.strip()[: pem.index("-----END") + 25].strip())).hexdigest()


def days_left(certificate: Path) -> float:
    """Days until a certificate (PEM) ends."""
    ends = x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc
    return (ends - datetime.datetime.now(datetime.UTC)).total_seconds() / 86_400


def _own_names() -> set[str]:
    return {"localhost", "127.0.0.1", "::1", socket.gethostname(), socket.getfqdn()}


def _is_good(found: Certificates, names: set[str]) -> bool:
    """Whether the services' certificate is there, of our authority, for these names, and not about to end."""
    try:
        shown = x509.load_pem_x509_certificate(found.certificate.read_bytes())
        shown.verify_directly_issued_by(x509.load_pem_x509_certificate(found.authority.read_bytes()))
        listed = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        key = serialization.load_pem_private_key(found.key.read_bytes(), None)
    except (OSError, ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False
    known = {str(name.value) for name in listed}
    return names <= known and key.public_key() == shown.public_key() and days_left(found.certificate) > RENEW_DAYS


def _root(key: Key) -> x509.Certificate:
    name = x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, f"cytobus {socket.gethostname()} {uuid.uuid4().hex[:8]}")]
    )
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        _begun(name, name, key, 365 * YEARS_OF_AUTHORITY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )


def _leaf(key: Key, names: list[str], root: x509.Certificate, signer: Key) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "cytobus services")])
    return (
        _begun(name, root.subject, key, DAYS_OF_SERVICES)
        .add_extension(x509.SubjectAlternativeName([_general(one) for one in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .sign(signer, hashes.SHA256())
    )


def _begun(subject: x509.Name, issuer: x509.Name, key: Key, days: int) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))  # clocks of instruments are not always right
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem_of(key: Key) -> bytes:
    nothing = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, nothing)
