"""How an MQTT broker is reached, for every connection to one; and how secrets are read from files."""

from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field, SecretStr, model_validator

from linewatch.errors import ConfigError, NotThereYet
from linewatch.setting_types import Section
from linewatch.text_files import NotUtf8Error, read_utf8


def without_empty(values: Any, *names: str) -> Any:
    """Drop keys with an empty value, so that `key = ""` means not given."""
    if isinstance(values, dict):
        return {key: value for key, value in values.items() if key not in names or value not in ("", None)}
    return values


def read_secret(key: str, path: Path) -> str:
    """Return the secret in a file. Raises ConfigError, and NotThereYet while the file is missing."""
    try:
        return read_utf8(path).strip()
    except NotUtf8Error as error:
        raise ConfigError(f"{key} {str(path)!r} cannot be read: {error}") from error
    except OSError as error:
        raise unreadable(key, path, error) from error


def unreadable(key: str, path: Path, error: OSError) -> ConfigError:
    """Return the error for a file of the settings: NotThereYet if it may come, else ConfigError."""
    kind = ConfigError if isinstance(error, PermissionError | IsADirectoryError) else NotThereYet
    return kind(f"{key} {str(path)!r} cannot be read: {(error.strerror or str(error)).lower()}")


class BrokerSettings(Section):
    """Address, credentials and TLS of a broker."""

    section: ClassVar[str]  # Its table's name, for messages.

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 1883
    username: str = ""
    password: SecretStr = SecretStr("")
    password_file: Path | None = None
    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    keepalive_s: Annotated[int, Field(ge=1, le=3600)] = 5

    @model_validator(mode="before")
    @classmethod
    def _empty_path_is_none(cls, values: Any) -> Any:
        return without_empty(values, "password_file", "tls_ca", "tls_cert", "tls_key")

    @property
    def address(self) -> str:
        """Host and port, for people."""
        return f"{self.host}:{self.port}"

    def secret(self) -> str:
        """Return the broker password, from its file or the environment. Raises ConfigError."""
        if self.password_file is None:
            return self.password.get_secret_value()
        return read_secret(f"{self.section}.password_file", self.password_file)
