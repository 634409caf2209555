"""Read what a host writes to the node's metrics (NCMD). No I/O."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from linewatch.mqtt.command_parsing import COMMAND_BYTES_MAX, PRODUCT_CHARACTERS_MAX, RID_MAX
from linewatch.mqtt.messages import Command, InvalidCommand
from linewatch.plc.sparkplug import metric_map as at
from linewatch.plc.sparkplug.schema import parse

METRICS_MAX = 32
WHO = "sparkplug"  # For the audit.


@dataclass(frozen=True, slots=True)
class Written:
    """What one NCMD asks for."""

    rebirth: bool = False
    command: Command | InvalidCommand | None = None


def read_command(data: bytes, number: int) -> Written:
    """Return what an NCMD asks for; `number` is the request's, unless the host wrote its own.

    Unknown metrics, and buttons that are written as false, ask for nothing. Raises ValueError for a payload
    that is none.
    """
    if len(data) > COMMAND_BYTES_MAX:
        raise ValueError(f"it is longer than {COMMAND_BYTES_MAX} bytes")
    try:
        values = _values(parse(data))
    except UnicodeDecodeError as error:
        raise ValueError("a text in it is not UTF-8") from error
    rebirth = values.pop(at.REBIRTH, False) is True
    try:
        return Written(rebirth, _command(values, number))
    except _Unfit as why:
        return Written(rebirth, InvalidCommand("sparkplug", number, str(why)))


class _Unfit(ValueError):
    """A value that a metric cannot take; the text is the reason in the answer."""


def _values(payload: Any) -> dict[str, object]:
    """Return the known metrics by name, whether they came by name or by alias."""
    if len(payload.metrics) > METRICS_MAX:
        raise ValueError(f"it has more than {METRICS_MAX} metrics")
    values: dict[str, object] = {}
    for metric in payload.metrics:
        name = metric.name or at.NAMES.get(metric.alias, "")
        field = metric.WhichOneof("value")
        if field is not None and (name in at.COMMANDS or name == at.REBIRTH):
            values[name] = getattr(metric, field)
    return values


def _command(values: Mapping[str, object], number: int) -> Command | None:
    """Return the one command that the values ask for. Raises _Unfit."""
    rid = _whole(values, at.REQUEST, RID_MAX) or number
    commands = [
        Command(name, rid, who=WHO) for metric, name in at.BUTTONS.items() if _pressed(values, metric)
    ]
    if product := _product(values):
        commands.append(Command("product", rid, product=product, who=WHO))
    if index := _whole(values, at.PRODUCT_INDEX, 999):
        commands.append(Command("product", rid, index=index, who=WHO))
    if len(commands) > 1:
        raise _Unfit("write one command at a time")
    return commands[0] if commands else None


def _pressed(values: Mapping[str, object], metric: str) -> bool:
    value = values.get(metric, False)
    if not isinstance(value, bool):
        raise _Unfit(f"{metric} must be true or false")
    return value


def _whole(values: Mapping[str, object], metric: str, high: int) -> int:
    value = values.get(metric, 0)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= high:
        raise _Unfit(f"{metric} must be a whole number from 1 to {high}")
    return value


def _product(values: Mapping[str, object]) -> str:
    value = values.get(at.PRODUCT, "")
    if not isinstance(value, str) or len(value) > PRODUCT_CHARACTERS_MAX or not value.isprintable():
        raise _Unfit(f"{at.PRODUCT} must be a text of at most {PRODUCT_CHARACTERS_MAX} printable characters")
    return value
