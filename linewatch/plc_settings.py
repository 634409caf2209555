"""Settings of the connections to a PLC beside MQTT, each off by default."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from linewatch.broker_settings import BrokerSettings
from linewatch.setting_types import Name, Network, Seconds, Section, is_loopback


class ModbusSettings(Section):
    """The Modbus TCP server."""

    enabled: bool = False
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 5020
    clients: tuple[Network, ...] = ()  # That may connect; none means programs on this machine.
    clients_max: Annotated[int, Field(ge=1, le=32)] = 4  # Connections at a time.
    idle_s: Seconds = 10.0  # A connection without a request for so long is closed.
    pass_s: Seconds = 2.0  # For so long after its verdict a part's PASS can be read.
    watchdog_s: Seconds = 2.0  # A client whose heartbeat stands still for so long counts as lost.
    client_lost: Literal["report", "pause"] = "report"  # What happens then.

    @model_validator(mode="after")
    def _open_address_needs_clients(self) -> "ModbusSettings":
        if not self.clients and not is_loopback(self.host):
            raise ValueError(
                f"host {self.host!r} can be reached from other machines, and Modbus has no password, so it "
                'needs modbus.clients; name the PLC, such as clients = ["192.168.0.10"]'
            )
        return self


class OpcuaSettings(Section):
    """The OPC UA server."""

    enabled: bool = False
    endpoint: str = "opc.tcp://127.0.0.1:4840/linewatch"
    certificate: Path | None = None  # Of the server, DER or PEM; without it one is made.
    private_key: Path | None = None  # PEM, RSA, not encrypted.
    folder: Path | None = None  # Of certificates; else opcua beside the journal.
    sessions_max: Annotated[int, Field(ge=1, le=64)] = 32  # Clients at a time.
    pass_s: Seconds = 2.0  # For so long after its verdict a part's PASS can be read.

    @model_validator(mode="before")
    @classmethod
    def _empty_is_none(cls, values: Any) -> Any:
        paths = ("certificate", "private_key", "folder")
        if not isinstance(values, dict):
            return values
        return {key: value for key, value in values.items() if key not in paths or value not in ("", None)}

    @field_validator("endpoint")
    @classmethod
    def _has_host_and_port(cls, endpoint: str) -> str:
        try:
            parts = urlsplit(endpoint)
            usable = parts.scheme == "opc.tcp" and parts.hostname and parts.port and not parts.query
        except ValueError:  # A port that is no number.
            usable = False
        if not usable:
            raise ValueError(
                f"{endpoint!r} must be an address such as opc.tcp://192.168.0.5:4840/linewatch, or "
                "opc.tcp://0.0.0.0:4840/linewatch for all addresses of this machine"
            )
        return endpoint

    @model_validator(mode="after")
    def _key_with_certificate(self) -> "OpcuaSettings":
        if (self.certificate is None) != (self.private_key is None):
            raise ValueError("certificate and private_key belong together; set both, or neither")
        return self

    @property
    def address(self) -> tuple[str, int]:
        """Host and port to listen on."""
        parts = urlsplit(self.endpoint)
        return parts.hostname or "", parts.port or 0

    @property
    def is_local(self) -> bool:
        """Whether only programs on this machine can connect."""
        return is_loopback(self.address[0])


class SparkplugSettings(BrokerSettings):
    """The Sparkplug B edge node and its broker, which may be the one of MQTT."""

    section: ClassVar[str] = "sparkplug"

    enabled: bool = False
    group: Name = "linewatch"  # The node's name is station.name.
    primary_host: Name | Literal[""] = ""  # Publish only while this host application is online; "" always.
    commands: bool = False  # Whether hosts may change the product, pause and so on; rebirth they always may.
    history_max: Annotated[int, Field(ge=0, le=100_000)] = 1000  # Verdicts kept while nothing can be sent.
    pass_s: Seconds = 2.0  # For so long after its verdict a part's PASS is shown.
