"""Encode births, data and deaths; number them. No I/O.

Rules and names are those of the Sparkplug specification 3.0.0, chapters 4 to 6.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from linewatch.domain import Verdict
from linewatch.mqtt.live import Announcement
from linewatch.plc.newest import Shown
from linewatch.plc.sparkplug import metric_map as at
from linewatch.plc.sparkplug.metric_map import DataType, Values
from linewatch.plc.sparkplug.schema import Payload

SEQUENCE = 256  # Payloads are numbered from 0 to 255, then from 0 again.
FIELDS = {
    DataType.INT64: "long_value",
    DataType.UINT8: "int_value",
    DataType.UINT16: "int_value",
    DataType.UINT64: "long_value",
    DataType.DATE_TIME: "long_value",
    DataType.DOUBLE: "double_value",
    DataType.BOOLEAN: "boolean_value",
    DataType.STRING: "string_value",
}


class Payloads:
    """Makes the payloads of one node, each with the changes since the one before.

    `commands` says whether hosts may write more than a rebirth. Times are UTC milliseconds since 1970.
    """

    def __init__(self, *, commands: bool) -> None:
        self._types = at.TYPES if commands else at.STATION
        self._sent: dict[str, object] = {}
        self._shown = (0, 0)  # Number and code of the verdict that the hosts see.
        self._sequence = 0

    def birth(self, number: int, now: Announcement, shown: Shown | None, answer: Values, ms: int) -> bytes:
        """Return the NBIRTH of a session: every metric with name, alias, type and value."""
        payload = Payload(timestamp=ms)
        _add(payload, ms, DataType.INT64, number, name=at.BIRTH_NUMBER)
        _add(payload, ms, DataType.BOOLEAN, False, name=at.REBIRTH)
        definition = payload.metrics.add(name=at.VERDICT_TYPE, timestamp=ms, datatype=DataType.TEMPLATE)
        definition.template_value.is_definition = True
        _fill(definition.template_value, at.NO_VERDICT, ms)
        verdict = payload.metrics.add(name=at.VERDICT, alias=at.ALIASES[at.VERDICT], timestamp=ms)
        _fill(_instance(verdict), at.shown_values(shown), ms)
        values = self._values(now, answer)
        for name, value in values.items():
            _add(payload, ms, self._types[name], value, name=name, alias=at.ALIASES[name])
        self._sent, self._shown = dict(values), _seen(shown)
        self._sequence = 0
        return self._numbered(payload)

    def data(self, now: Announcement, shown: Shown | None, answer: Values, ms: int) -> bytes | None:
        """Return the NDATA with what changed since the payload before; None if nothing did."""
        payload = Payload(timestamp=ms)
        if shown is not None and _seen(shown) != self._shown:
            new = shown.number != self._shown[0]
            at_ms = shown.verdict.captured_ms if new else ms
            metric = payload.metrics.add(alias=at.ALIASES[at.VERDICT], timestamp=at_ms)
            _fill(_instance(metric), at.shown_values(shown) if new else at.WITHDRAWN, at_ms)
            self._shown = _seen(shown)
        for name, value in self._values(now, answer).items():
            if self._sent.get(name) != value:
                self._sent[name] = value
                _add(payload, ms, self._types[name], value, alias=at.ALIASES[name])
        return self._numbered(payload) if payload.metrics else None

    def history(self, verdicts: Iterable[Verdict], ms: int) -> bytes:
        """Return an NDATA of verdicts that could not be shown when they were given."""
        payload = Payload(timestamp=ms)
        for verdict in verdicts:
            metric = payload.metrics.add(alias=at.ALIASES[at.VERDICT], timestamp=verdict.captured_ms)
            metric.is_historical = True
            _fill(_instance(metric), at.verdict_values(verdict), verdict.captured_ms)
        return self._numbered(payload)

    def _values(self, now: Announcement, answer: Values) -> Mapping[str, object]:
        values = {**at.station_values(now), **at.NO_COMMANDS, **answer}
        return {name: values[name] for name in self._types}

    def _numbered(self, payload: Any) -> bytes:
        payload.seq = self._sequence
        self._sequence = (self._sequence + 1) % SEQUENCE
        data: bytes = payload.SerializeToString()
        return data


def death(number: int, ms: int) -> bytes:
    """Return the NDEATH of a session: nothing but its number."""
    payload = Payload(timestamp=ms)
    _add(payload, ms, DataType.INT64, number, name=at.BIRTH_NUMBER)
    data: bytes = payload.SerializeToString()
    return data


def _seen(shown: Shown | None) -> tuple[int, int]:
    return (0, 0) if shown is None else (shown.number, shown.code)


def _instance(metric: Any) -> Any:
    metric.datatype = DataType.TEMPLATE
    template = metric.template_value
    template.is_definition = False
    template.template_ref = at.VERDICT_TYPE
    return template


def _fill(template: Any, values: Values, ms: int) -> None:
    template.version = at.TEMPLATE_VERSION
    for name, value in values.items():
        _add(template, ms, at.MEMBERS[name], value, name=name)


def _add(
    parent: Any,
    ms: int,
    kind: DataType,
    value: object,
    *,
    name: str | None = None,
    alias: int | None = None,
) -> None:
    """Add a metric to a payload or a template.

    Always with its datatype: in data it should be left out, but Tahu's own decoder finds no value without it.
    """
    metric = parent.metrics.add(name=name, alias=alias, timestamp=ms, datatype=kind)
    setattr(metric, FIELDS[kind], value)
