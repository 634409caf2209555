"""Name lookup, TLS, and sentences for connection errors."""

import socket
import ssl
import threading
from pathlib import Path

from linewatch.broker_settings import BrokerSettings, unreadable
from linewatch.errors import BrokerLost, ConfigError

PACKET_BYTES_MIN = 1024  # Our largest packet, with a margin.


def tls_context(settings: BrokerSettings) -> ssl.SSLContext | None:
    """Return a TLS context that checks host names; None without `tls_ca`.

    Raises ConfigError, and NotThereYet while one of the files is missing.
    """
    section = settings.section
    if settings.tls_ca is None:
        if settings.tls_cert is not None or settings.tls_key is not None:
            raise ConfigError(
                f"{section}.tls_cert and {section}.tls_key need {section}.tls_ca; "
                "name the broker's CA file there"
            )
        return None
    for key in ("tls_ca", "tls_cert", "tls_key"):
        if (path := getattr(settings, key)) is not None:
            _check_readable(f"{section}.{key}", path)
    try:
        context = ssl.create_default_context(cafile=settings.tls_ca)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"{section}.tls_ca {str(settings.tls_ca)!r}: {_tls_words(error)}") from error
    context.sslsocket_class = _ClosingSocket
    if settings.tls_cert is not None:
        try:
            context.load_cert_chain(settings.tls_cert, settings.tls_key, password=_NO_PASSWORD)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"{section}.tls_cert {str(settings.tls_cert)!r} with its key: {_tls_words(error)}"
            ) from error
    return context


def _check_readable(key: str, path: Path) -> None:
    """Raise ConfigError or NotThereYet with the name of a file that OpenSSL would not name."""
    try:
        path.open("rb").close()
    except OSError as error:
        raise unreadable(key, path, error) from error


_NO_PASSWORD = ""  # Otherwise OpenSSL asks for an encrypted key's password on the terminal.


class _ClosingSocket(ssl.SSLSocket):
    """Socket that closes when the handshake fails, where paho would leak it."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise


def resolve(settings: BrokerSettings, timeout_s: float) -> None:
    """Look the name up with a time-out, which getaddrinfo does not have. Raises BrokerLost."""
    answers: list[OSError | None] = []

    def look_up() -> None:
        try:
            socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)
            answers.append(None)
        except OSError as error:
            answers.append(error)
        except UnicodeError as error:
            answers.append(OSError(str(error)))

    helper = threading.Thread(target=look_up, name="resolve", daemon=True)
    helper.start()
    helper.join(timeout_s)
    if not answers or answers[0] is not None:
        raise BrokerLost(
            settings.address,
            f"the name {settings.host!r} cannot be resolved; "
            f"check {settings.section}.host and the name server",
        ) from (answers[0] if answers else None)


def connect_problem(error: OSError, section: str, timeout_s: float) -> str:
    """Return a sentence with the next step for an error while connecting."""
    match error:
        case ssl.SSLCertVerificationError():
            return (
                f"its certificate is not accepted ({error.verify_message}); check {section}.tls_ca "
                f"and {section}.host"
            )
        case ssl.SSLError():
            return f"TLS failed ({_tls_words(error)}); check {section}.port and the {section}.tls_ settings"
        case TimeoutError():
            return f"cannot be reached within {timeout_s:.1f} s; check {section}.host, cable and firewall"
        case ConnectionRefusedError():
            return "refuses connections; is it running on this port?"
        case _:
            return f"cannot be reached ({error.strerror or error}); check {section}.host and the network"


def missing_feature(connack: object) -> str:
    """Return which required feature the CONNACK says is missing; "" if none."""
    if getattr(connack, "MaximumQoS", 2) < 1:
        return "does not take QoS 1; allow it there"
    if not getattr(connack, "RetainAvailable", 1):
        return "does not keep retained messages; allow them there"
    size = getattr(connack, "MaximumPacketSize", PACKET_BYTES_MIN)
    if size < PACKET_BYTES_MIN:
        return f"takes packets of at most {size} bytes; allow {PACKET_BYTES_MIN} there"
    return ""


def _tls_words(error: OSError) -> str:
    return (getattr(error, "reason", "") or error.strerror or str(error)).replace("_", " ").lower()
