"""The node's metrics: names, types, aliases, and how station and verdict become their values. No I/O.

docs/plc.md has them as a table. The members of a verdict have the names of MQTT's JSON.
"""

from collections.abc import Mapping
from enum import IntEnum

from linewatch.domain import NO_BOX, Verdict
from linewatch.mqtt.live import Announcement
from linewatch.mqtt.messages import state_payload, verdict_payload
from linewatch.plc.newest import Shown

Values = Mapping[str, object]


class DataType(IntEnum):
    """Types of metrics (Sparkplug 3.0.0, 6.4.16). Not UInt32: Tahu reads it from another field."""

    INT64 = 4
    UINT8 = 5
    UINT16 = 6
    UINT64 = 8
    DOUBLE = 10
    BOOLEAN = 11
    STRING = 12
    DATE_TIME = 13
    TEMPLATE = 19


# Never with an alias: a host can ask for a rebirth without having seen a birth.
BIRTH_NUMBER, REBIRTH = "bdSeq", "Node Control/Rebirth"
VERDICT, VERDICT_TYPE = "Verdict", "LinewatchVerdict"  # The instance, and the name of its definition.
TEMPLATE_VERSION = "1"

STATION = {
    "Station/Word": DataType.UINT16,
    "Station/State": DataType.STRING,
    "Station/Ready": DataType.BOOLEAN,  # Whether a part can pass.
    "Station/Reason": DataType.STRING,
    "Station/Product": DataType.STRING,
    "Station/Product Index": DataType.UINT16,
    "Station/Model": DataType.STRING,
    "Station/Camera": DataType.BOOLEAN,
    "Station/Disk": DataType.BOOLEAN,
    "Station/Boot": DataType.UINT64,
}
REQUEST, PRODUCT, PRODUCT_INDEX = "Command/Request", "Command/Product", "Command/Product Index"
BUTTONS = {
    "Command/Pause": "pause",
    "Command/Resume": "resume",
    "Command/Reset": "reset",
    "Command/Self-Test": "selftest",
}
COMMANDS = {
    REQUEST: DataType.UINT16,
    PRODUCT: DataType.STRING,
    PRODUCT_INDEX: DataType.UINT16,
    **dict.fromkeys(BUTTONS, DataType.BOOLEAN),
}
NO_COMMANDS: Values = {REQUEST: 0, PRODUCT: "", PRODUCT_INDEX: 0, **dict.fromkeys(BUTTONS, False)}
ANSWER = {
    "Answer/Request": DataType.UINT16,
    "Answer/Command": DataType.STRING,
    "Answer/Code": DataType.UINT8,
    "Answer/Reason": DataType.STRING,
}
NO_ANSWER: Values = {"Answer/Request": 0, "Answer/Command": "", "Answer/Code": 0, "Answer/Reason": ""}

TYPES = {**STATION, **COMMANDS, **ANSWER}
ALIASES = {name: number for number, name in enumerate((VERDICT, *TYPES), 1)}
NAMES = {number: name for name, number in ALIASES.items()}

MEMBERS = {
    "boot": DataType.UINT64,
    "seq": DataType.UINT64,
    "trigger": DataType.UINT16,
    "part": DataType.STRING,
    "product": DataType.STRING,
    "product_index": DataType.UINT16,
    "model": DataType.STRING,
    "result": DataType.STRING,
    "code": DataType.UINT8,
    "reason": DataType.UINT8,
    "score": DataType.UINT64,
    "raw": DataType.DOUBLE,
    "threshold": DataType.DOUBLE,
    "captured_ms": DataType.DATE_TIME,
    "age_ms": DataType.UINT64,
    "latency_ms": DataType.UINT64,
    "late": DataType.BOOLEAN,
    "simulated": DataType.BOOLEAN,
    "defects": DataType.UINT64,
    "box_x": DataType.UINT64,
    "box_y": DataType.UINT64,
    "box_width": DataType.UINT64,
    "box_height": DataType.UINT64,
    "region": DataType.STRING,
    "region_index": DataType.UINT8,
    "image": DataType.STRING,
    "heatmap": DataType.STRING,
}
"""Members of the template, in order."""

_NOTHING = {DataType.STRING: "", DataType.BOOLEAN: False, DataType.DOUBLE: 0.0}
NO_VERDICT: Values = {name: _NOTHING.get(kind, 0) for name, kind in MEMBERS.items()}
WITHDRAWN: Values = {"result": "", "code": 0}
"""What replaces a PASS that no longer stands."""


def station_values(now: Announcement) -> Values:
    """Return the station's metrics by name."""
    facts = state_payload(now.facts)
    return {
        "Station/Word": now.word,
        "Station/State": facts["state"],
        "Station/Ready": now.facts.state.judging,
        "Station/Reason": facts["reason"],
        "Station/Product": facts["product"],
        "Station/Product Index": facts["product_index"],
        "Station/Model": facts["model"],
        "Station/Camera": bool(facts["camera"]),
        "Station/Disk": bool(facts["disk"]),
        "Station/Boot": facts["boot"],
    }


def shown_values(shown: Shown | None) -> Values:
    """Return the members of the newest verdict as it may be shown."""
    if shown is None:
        return NO_VERDICT
    values = verdict_values(shown.verdict)
    return values if shown.code == shown.verdict.result.code else {**values, **WITHDRAWN}


def verdict_values(verdict: Verdict) -> Values:
    """Return the members of a verdict as it was given."""
    facts = verdict_payload(verdict, history=False)
    box = facts.pop("box")
    assert isinstance(box, list) and len(box) == len(NO_BOX)
    facts |= dict(zip(("box_x", "box_y", "box_width", "box_height"), box, strict=True))
    facts |= {name: bool(facts[name]) for name in ("late", "simulated")}
    return {name: facts[name] for name in MEMBERS}
