"""Settings of the connections to a PLC beside MQTT, each off by default."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from linewatch.setting_types import Network, Seconds, Section, is_loopback


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
