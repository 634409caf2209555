"""The server's certificate, made at first start, and those of the clients it trusts."""

import logging
import os
import re
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from linewatch.errors import ConfigError
from linewatch.runtime.atomic_files import translate_os_errors, write_text

log = logging.getLogger(__name__)

KEY_BITS = 2048
VALID_DAYS = 3650
REFUSED_MAX = 20  # Kept for the person who decides whom to trust.
CERTIFICATE_BYTES_MAX = 10_000


class Certificates:
    """A folder: `own/` with the server's certificate and key, `trusted/`, `refused/`."""

    def __init__(self, folder: Path, certificate: Path | None, key: Path | None) -> None:
        self._folder = folder
        self._certificate = certificate or folder / "own/certificate.pem"
        self._key = key or folder / "own/key.pem"
        self._given = certificate is not None
        self._trusted: dict[str, tuple[float, bytes]] = {}  # By file name: when it changed, DER.

    @property
    def trusted_folder(self) -> Path:
        """Where a person puts the certificates of clients."""
        return self._folder / "trusted"

    def own(self, application_uri: str) -> tuple[x509.Certificate, rsa.RSAPrivateKey]:
        """Return the server's certificate and key, made now if there is none.

        Raises ConfigError for files that cannot be used, StorageFull when they cannot be written.
        """
        if not self._given and not self._certificate.exists():
            self._make(application_uri)
        try:
            certificate = _certificate(self._certificate.read_bytes())
            key = load_pem_private_key(self._key.read_bytes(), None)
        except (OSError, ValueError, TypeError) as error:
            raise ConfigError(
                f"opcua.certificate {str(self._certificate)!r} or opcua.private_key {str(self._key)!r} "
                f"cannot be used ({error}); give a certificate (DER or PEM) and its RSA key (plain PEM)"
            ) from error
        if not isinstance(key, rsa.RSAPrivateKey) or key.public_key() != certificate.public_key():
            raise ConfigError(
                f"opcua.private_key {str(self._key)!r} is not the RSA key of opcua.certificate "
                f"{str(self._certificate)!r}"
            )
        if certificate.not_valid_after_utc < datetime.now(UTC):
            raise ConfigError(
                f"opcua.certificate {str(self._certificate)!r} expired on "
                f"{certificate.not_valid_after_utc:%Y-%m-%d}; replace it, or remove it to have one made"
            )
        return certificate, key

    def describe(self) -> str:
        """Return which certificate the server has. Raises ConfigError for one that cannot be used."""
        if not self._given and not self._certificate.exists():
            return "its certificate is made at the first start"
        certificate, _ = self.own("")
        return f"its certificate is valid until {certificate.not_valid_after_utc:%Y-%m-%d}"

    def count_trusted(self) -> int:
        """Return how many clients are trusted."""
        return len(self._trusted_ones())

    def why_untrusted(self, der: bytes) -> str:
        """Return why a client's certificate is not accepted, "" if it is. An unknown one is kept."""
        try:
            certificate = x509.load_der_x509_certificate(der)
        except ValueError:
            return "its certificate cannot be read"
        name = certificate.subject.rfc4514_string()[:80]
        if der not in self._trusted_ones():
            self._keep_refused(certificate)
            return f"the certificate of {name!r} is not in {self.trusted_folder}"
        now = datetime.now(UTC)
        if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
            return f"the certificate of {name!r} has expired or is not valid yet"
        return ""

    def _trusted_ones(self) -> set[bytes]:
        """Return the trusted certificates; a file that was added or removed counts at once."""
        found: dict[str, tuple[float, bytes]] = {}
        try:
            entries = list(os.scandir(self.trusted_folder))
        except OSError:
            return set()
        for entry in entries:
            known = self._trusted.get(entry.name)
            try:
                changed_s = entry.stat().st_mtime
                if known is None or known[0] != changed_s:
                    read = _certificate(Path(entry.path).read_bytes()[:CERTIFICATE_BYTES_MAX])
                    known = (changed_s, read.public_bytes(Encoding.DER))
            except (OSError, ValueError):
                log.warning("opcua_certificate_unreadable path=%r", entry.path)
                continue
            found[entry.name] = known
        self._trusted = found
        return {der for _, der in found.values()}

    def _keep_refused(self, certificate: x509.Certificate) -> None:
        folder = self._folder / "refused"
        digest = certificate.fingerprint(hashes.SHA256()).hex()[:16]
        name = re.sub(r"[^\w.-]+", "_", certificate.subject.rfc4514_string())[:40]
        path = folder / f"{name}-{digest}.der"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if path.exists() or sum(1 for _ in folder.iterdir()) >= REFUSED_MAX:
                return
            path.write_bytes(certificate.public_bytes(Encoding.DER))
        except OSError as error:
            log.warning("opcua_refused_not_kept reason=%r", str(error))

    def _make(self, application_uri: str) -> None:
        key = rsa.generate_private_key(public_exponent=65_537, key_size=KEY_BITS)
        made = _self_signed(key, application_uri)
        secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        write_text(self._key, secret.decode(), mode=0o600)
        write_text(self._certificate, made.public_bytes(Encoding.PEM).decode())
        with translate_os_errors(self.trusted_folder):
            self.trusted_folder.mkdir(exist_ok=True)
        log.info("opcua_certificate_made path=%s", self._certificate)


def _certificate(content: bytes) -> x509.Certificate:
    pem = content.lstrip().startswith(b"-----")
    return x509.load_pem_x509_certificate(content) if pem else x509.load_der_x509_certificate(content)


def _self_signed(key: rsa.RSAPrivateKey, application_uri: str) -> x509.Certificate:
    """Return a certificate as OPC 10000-6, 6.2.2 wants it."""
    host = socket.gethostname()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"linewatch on {host}"[:64])])
    now = datetime.now(UTC)
    usage = x509.KeyUsage(
        digital_signature=True, content_commitment=True, key_encipherment=True, data_encipherment=True,
        key_agreement=False, key_cert_sign=True, crl_sign=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    names = [x509.UniformResourceIdentifier(application_uri), x509.DNSName(host)]
    public = key.public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))  # For clients whose clocks are behind.
        .not_valid_after(now + timedelta(days=VALID_DAYS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=False)
        .add_extension(usage, critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
        .sign(key, hashes.SHA256())
    )
