"""A Sparkplug host and a node over a station in memory; payloads decoded without protobuf."""

import json
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from linewatch.domain import Answer, ReplyCode
from linewatch.mqtt.live import Announcement
from linewatch.mqtt.messages import Command, InvalidCommand, StateFacts, status_word
from linewatch.plc.sparkplug.edge_node import EdgeNode, Meters
from linewatch.plc_settings import SparkplugSettings
from tests.plc.served import WAIT_S, ServedAdapter

GROUP, STATION = "plant", "station1"
# Field numbers of Payload, Metric and Template (Sparkplug 3.0.0, 6.4.1), as the test reads them.
PAYLOAD = {1: "timestamp", 2: "metrics", 3: "seq"}
METRIC = {1: "name", 2: "alias", 3: "timestamp", 4: "datatype", 5: "is_historical", 10: "value", 11: "value",
          13: "value", 14: "value", 15: "value", 18: "value"}  # fmt: skip
TEMPLATE = {1: "version", 2: "metrics", 4: "template_ref", 5: "is_definition"}


def decode(data: bytes) -> dict[str, Any]:
    """Return a payload as a dictionary; its metrics as dictionaries in a list."""
    payload: dict[str, Any] = {"metrics": []}
    for number, value in _fields(data):
        if number == 2:
            payload["metrics"].append(_metric(value))
        else:
            payload[PAYLOAD[number]] = value
    return payload


def _metric(data: bytes) -> dict[str, Any]:
    metric: dict[str, Any] = {}
    for number, raw in _fields(data):
        assert METRIC[number] not in metric, "a field comes twice"
        metric[METRIC[number]] = READ[number](raw) if number in READ else raw
    return metric


def _double(data: bytes) -> float:
    (value,) = struct.unpack("<d", data)
    return float(value)


def _template(data: bytes) -> dict[str, Any]:
    template: dict[str, Any] = {"metrics": {}}
    for number, value in _fields(data):
        if number == 2:
            metric = _metric(value)
            template["metrics"][metric["name"]] = metric.get("value")
        else:
            text = number in (1, 4)
            template[TEMPLATE[number]] = value.decode() if text else bool(value)
    return template


READ: dict[int, Callable[[Any], object]] = {
    1: bytes.decode, 5: bool, 13: _double, 14: bool, 15: bytes.decode, 18: _template
}  # fmt: skip


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Yield number and value of each field (the protobuf encoding guide)."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return value

    while at < len(data):
        tag = varint()
        kind = tag & 7
        if kind == 0:
            yield tag >> 3, varint()
        else:
            size = {1: 8, 5: 4}.get(kind) or varint()
            yield tag >> 3, data[at : at + size]
            at += size


@dataclass(frozen=True, slots=True)
class Heard:
    """One message of the node."""

    kind: str  # NBIRTH, NDATA, NDEATH.
    payload: dict[str, Any]
    raw: bytes
    qos: int
    retained: bool

    @property
    def seq(self) -> int:
        """Its sequence number, -1 without one."""
        return int(self.payload.get("seq", -1))

    @property
    def bdseq(self) -> int:
        """The session's number in a birth or death."""
        (value,) = [m["value"] for m in self.payload["metrics"] if m.get("name") == "bdSeq"]
        return int(value)

    def metric(self, name: str) -> dict[str, Any]:
        """Return one metric by name."""
        metrics: dict[str, dict[str, Any]] = {m.get("name", ""): m for m in self.payload["metrics"]}
        return metrics[name]


class Host:
    """A host application: hears all of the node, and follows its metrics as the specification says."""

    def __init__(self, port: int) -> None:
        self._client = Client(CallbackAPIVersion.VERSION2)
        self._port = port
        self._changed = threading.Condition()
        self._ready = False
        self.heard: list[Heard] = []
        self._client.on_connect = lambda client, *_: client.subscribe("spBv1.0/#", qos=1)
        self._client.on_subscribe = lambda *_: self._subscribed()
        self._client.on_message = lambda _c, _u, message: self._hear(message)
        self._client.reconnect_delay_set(1, 1)

    def __enter__(self) -> Self:
        self._client.connect("127.0.0.1", self._port)
        self._client.loop_start()
        self.wait(lambda: self._ready)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def wait(self, done: Callable[[], bool]) -> None:
        """Wait until something about what was heard is true."""
        with self._changed:
            assert self._changed.wait_for(done, WAIT_S), [(h.kind, h.seq) for h in self.heard]

    def on(self, kind: str) -> list[Heard]:
        """Return the messages of one kind."""
        return [message for message in self.heard if message.kind == kind]

    def write(self, *metrics: bytes, retain: bool = False) -> None:
        """Send an NCMD."""
        payload = b"".join(_sized(2, metric) for metric in metrics)
        self.say(f"spBv1.0/{GROUP}/NCMD/{STATION}", payload, retain=retain)

    def ask_for_rebirth(self) -> None:
        """Send the rebirth request."""
        self.write(written("Node Control/Rebirth", True))

    def be(self, name: str, online: bool, ms: int) -> None:
        """Publish a STATE message of a host application."""
        payload = json.dumps({"online": online, "timestamp": ms})
        self.say(f"spBv1.0/STATE/{name}", payload.encode(), retain=True)

    def say(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Publish one message and wait until the broker has it."""
        self._client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(WAIT_S)

    @property
    def live(self) -> list[dict[str, Any]]:
        """What the present verdict was, one after the other; births included."""
        return self._verdicts(historical=False)

    @property
    def history(self) -> list[dict[str, Any]]:
        """The historical verdicts, in order of arrival."""
        return self._verdicts(historical=True)

    def _verdicts(self, *, historical: bool) -> list[dict[str, Any]]:
        names: dict[int, str] = {}
        present: dict[str, Any] = {}
        verdicts = []
        for message in self.heard:
            for metric in message.payload["metrics"] if message.kind in ("NBIRTH", "NDATA") else ():
                if message.kind == "NBIRTH":
                    names[metric.get("alias", 0)] = metric["name"]
                name = metric.get("name") or names[metric["alias"]]
                if name == "Verdict" and bool(metric.get("is_historical")) is historical:
                    members = metric["value"]["metrics"]
                    present = members if historical else {**present, **members}
                    verdicts.append(present)
        return verdicts

    @property
    def values(self) -> dict[str, Any]:
        """The present values by name, from the last birth and the data after it."""
        values: dict[str, Any] = {}
        names: dict[int, str] = {}
        for message in self.heard:
            if message.kind not in ("NBIRTH", "NDATA"):
                continue
            for metric in message.payload["metrics"]:
                if message.kind == "NBIRTH":
                    names[metric.get("alias", 0)] = metric["name"]
                if not metric.get("is_historical"):
                    values[metric.get("name") or names[metric["alias"]]] = metric["value"]
        return values

    def _hear(self, message: MQTTMessage) -> None:
        kind = message.topic.split("/")[2]
        if kind in ("NBIRTH", "NDATA", "NDEATH"):
            assert message.topic.split("/")[3:] == [STATION]
            raw = bytes(message.payload)
            with self._changed:
                self.heard.append(Heard(kind, decode(raw), raw, message.qos, message.retain))
                self._changed.notify_all()

    def _subscribed(self) -> None:
        with self._changed:
            self._ready = True
            self._changed.notify_all()


def written(name: str, value: bool | int | str, *, alias: int = 0) -> bytes:
    """Encode a metric of an NCMD, by name or by alias."""
    key = _number(2, alias) if alias else _sized(1, name.encode())
    if isinstance(value, bool):
        return key + _number(14, int(value))
    return key + (_number(10, value) if isinstance(value, int) else _sized(15, value.encode()))


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _sized(field: int, data: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


class Node(ServedAdapter):
    """A running node; its station's state and product are the test's. `changes` are its settings."""

    def __init__(self, folder: Path, port: int, *, live_s: float = WAIT_S, **changes: Any) -> None:
        super().__init__()
        usual: dict[str, Any] = {"enabled": True, "group": GROUP, "port": port, "pass_s": 60.0}
        self.settings = SparkplugSettings(**(usual | changes))
        self.product_index = 3
        self.word = 0
        self.node = EdgeNode(
            self.settings,
            STATION,
            folder / "sparkplug-session",
            self._announce,
            self._submit,
            Meters(verdict=self._count, command=self._count, connected=lambda _: None),
            live_s=live_s,
            on_change=self._note,
        )

    @property
    def adapter(self) -> EdgeNode:
        """The node."""
        return self.node

    def answer_to(self, command: Command | InvalidCommand) -> Answer:
        """Return what the station answers, with the reason of a refusal."""
        if isinstance(command, InvalidCommand):
            return Answer(ReplyCode.BAD_ARGUMENT, command.reason)
        return super().answer_to(command)

    def _announce(self) -> Announcement:
        facts = StateFacts(station=STATION, boot=41, state=self.state, product_index=self.product_index)
        return Announcement(facts, status_word(self.state) | self.word)


def results(verdicts: list[dict[str, Any]]) -> list[tuple[int, int]]:
    """Return seq and code of each verdict."""
    return [(verdict["seq"], verdict["code"]) for verdict in verdicts]


def is_consecutive(heard: list[Heard]) -> bool:
    """Whether births have 0 and every message after one the number that follows, modulo 256."""
    expected = -1  # Also of a death: it has none.
    for message in heard:
        if message.kind != "NDATA":
            expected = 0 if message.kind == "NBIRTH" else -1
        if message.seq != expected:
            return False
        expected = (expected + 1) % 256
    return True
