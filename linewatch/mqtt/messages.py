"""The wire contract: topics, payloads, the PLC's fixed-width line and its status word. No I/O."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

from linewatch.domain import Reason, Result, State, Verdict

VERDICT_BYTES_MAX = 500
COMMAND_BYTES_MAX = 4096
PART_CHARACTERS_MAX = 64
RID_MAX = 65_535
NAME_CHARACTERS_MAX = 32  # Of a command: its answer goes to a topic of that name.
TEXT_BYTES_MAX = 200  # Of a reason, and of each text in an event.
COMMANDS = ("trigger", "product", "selftest", "pause", "resume", "reset", "rebirth")


@dataclass(frozen=True, slots=True)
class Topics:
    """Every topic of one station below its base topic."""

    base: str

    @property
    def online(self) -> str:
        """Retained "1"; the Last Will and a clean stop make it "0"."""
        return f"{self.base}/online"

    @property
    def state(self) -> str:
        """Retained JSON: what the station is doing."""
        return f"{self.base}/state"

    @property
    def verdict(self) -> str:
        """One JSON per part, live only."""
        return f"{self.base}/verdict"

    @property
    def plc_verdict(self) -> str:
        """The same verdict as 33 characters."""
        return f"{self.base}/plc/verdict"

    @property
    def plc_word(self) -> str:
        """The status word."""
        return f"{self.base}/plc/word"

    @property
    def history(self) -> str:
        """Every journaled verdict, in order, at least once."""
        return f"{self.base}/history"

    @property
    def replies(self) -> str:
        """Below it MQTT 5 clients may have their answers sent."""
        return f"{self.base}/reply"

    @property
    def event(self) -> str:
        """Edges: lost, back, changed, refused."""
        return f"{self.base}/event"

    @property
    def commands(self) -> str:
        """The filter that gets every command and none of the replies."""
        return f"{self.base}/cmd/+"


@dataclass(frozen=True, slots=True, kw_only=True)
class StateFacts:
    """What `B/state` says; field order is the wire's."""

    station: str
    boot: int
    state: State
    reason: str = ""
    product: str = ""
    product_index: int = 0
    model: str = ""
    camera: bool = False  # It delivers frames.
    disk: bool = True  # It takes journal rows and evidence.
    outbox: int = 0  # Verdicts that the history still misses.
    last_seq: int = 0
    uptime_s: int = 0
    births: int = 0  # Not on the wire; grows when somebody asks to hear everything again.

    @property
    def edge(self) -> tuple[object, ...]:
        """What counts as a change: everything that does not move by itself."""
        return (
            self.state,
            self.reason,
            self.product,
            self.product_index,
            self.model,
            self.camera,
            self.disk,
            self.births,
        )


@dataclass(frozen=True, slots=True)
class Message:
    """One message for the wire: topic and UTF-8 payload."""

    topic: str
    payload: str


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message as it came from the broker, with where else (MQTT 5) the answer is wanted."""

    topic: str
    payload: bytes
    retained: bool = False
    reply_to: str = ""
    correlation: bytes = b""

    @property
    def name(self) -> str:
        """The last level of the topic: the command's name."""
        return self.topic.rpartition("/")[2]

    @property
    def answerable(self) -> bool:
        """Whether the answer's topic is one that every broker and PLC takes."""
        return len(self.name) <= NAME_CHARACTERS_MAX


@dataclass(frozen=True, slots=True)
class Command:
    """A well-formed request; whether it can be done now is decided elsewhere."""

    name: str
    rid: int  # 1 to 65535.
    part: str = ""  # trigger: which part this is.
    exp_ms: int = 0  # trigger: expiry as the sender gave it, 0 if it never expires.
    product: str = ""  # product: by name, or
    index: int = 0  # by the PLC's number, 1 to 999; 0 if named.
    who: str = "mqtt"  # For the audit: where it came from.


@dataclass(frozen=True, slots=True)
class Refused:
    """A request that cannot be understood. `rid` is 0 if even that could not be read."""

    name: str
    rid: int
    reason: str
    code: int = 4  # Bad argument.


def verdict_json(verdict: Verdict, *, history: bool) -> str:
    """Return `verdict_payload` as JSON text."""
    return _fit_verdict(verdict, history)[1]


def verdict_payload(verdict: Verdict, *, history: bool) -> dict[str, object]:
    """Return the flat JSON object of a verdict: every key always, at most 500 bytes as UTF-8 text.

    Numbers beyond their room are saturated; a score that is not finite becomes 0. Should the
    text be too long, `part` is shortened, then `model` and `product`, then the evidence paths are
    left out: code, boot and seq are never touched.
    """
    return _fit_verdict(verdict, history)[0]


def _fit_verdict(verdict: Verdict, history: bool) -> tuple[dict[str, object], str]:
    facts: dict[str, object] = {
        "v": 1,
        "station": _utf8(verdict.station)[:32],
        "boot": verdict.boot,
        "seq": verdict.seq,
        "trigger": verdict.trigger,
        "part": _utf8(verdict.part),
        "product": _utf8(verdict.product),
        "product_index": _clamp(verdict.product_index, 999),
        "model": _utf8(verdict.model),
        "result": verdict.result.value,
        "code": verdict.result.code,
        "reason": int(verdict.reason),
        "score": _clamp(verdict.score, 9_999_999),
        "raw": _short_float(verdict.raw),
        "threshold": _short_float(verdict.threshold),
        "captured_ms": verdict.captured_ms,
        "age_ms": _clamp(verdict.age_ms, 99_999),
        "latency_ms": _clamp(verdict.latency_ms, 99_999),
        "late": int(verdict.late),
        "simulated": int(verdict.simulated),
        "history": int(history),
        "defects": _clamp(verdict.defects, 9_999),
        "box": [_clamp(side, 99_999) for side in verdict.box],
        "image": verdict.image,
        "heatmap": verdict.heatmap,
    }
    text = _dumps(facts)
    for key in ("part", "model", "product", "heatmap", "image"):
        excess = len(text.encode()) - VERDICT_BYTES_MAX
        if excess <= 0:
            break
        # Half a path is no path.
        facts[key] = "" if key in ("heatmap", "image") else _shortened(str(facts[key]), excess)
        text = _dumps(facts)
    assert len(text.encode()) <= VERDICT_BYTES_MAX, text
    return facts, text


def plc_line(verdict: Verdict) -> str:
    """Return exactly 33 ASCII characters, `BBBBB;SSSSSSSSSS;R;WW;PPP;LLLLL;#`.

    Boot is its last 5 digits and seq its last 10 (they wrap); product index is at most 999 and
    latency at most 99999 ms (they saturate).
    """
    line = (
        f"{verdict.boot % 100_000:05d};{verdict.seq % 10_000_000_000:010d};{verdict.result.code};"
        f"{int(verdict.reason):02d};{_clamp(verdict.product_index, 999):03d};"
        f"{_clamp(verdict.latency_ms, 99_999):05d};#"
    )
    assert len(line) == 33, line
    return line


def status_word(
    state: State,
    *,
    online: bool = True,
    busy: bool = False,
    last_result: Result | None = None,
    last_seq: int = 0,
    selftest_passed: bool = False,
    heartbeat: int = 0,
) -> int:
    """Return the PLC's 16 bits, 0 to 65535; bit 8 is the lowest bit of `last_seq`."""
    bits = (
        online,
        state.judging,
        busy,
        state is State.FAULT,
        state is State.DEGRADED,
        last_result is Result.PASS,
        last_result is Result.FAIL,
        last_result in (Result.UNSURE, Result.ERROR),
        bool(last_seq & 1),
        state is State.CHANGEOVER,
        selftest_passed,
    )
    return sum(bit << place for place, bit in enumerate(bits)) | (heartbeat & 0xF) << 12


def word_text(word: int) -> str:
    """Return the status word as it is published: unsigned decimal ASCII."""
    assert 0 <= word <= 0xFFFF, word
    return str(word)


def state_json(facts: StateFacts) -> str:
    """Return `state_payload` as JSON text."""
    return _dumps(state_payload(facts))


def state_payload(facts: StateFacts) -> dict[str, object]:
    """Return the retained state; `camera` and `disk` are 1 when all is well."""
    return {
        "v": 1,
        "station": facts.station,
        "boot": facts.boot,
        "state": facts.state.value,
        "reason": _cut(facts.reason),
        "product": _utf8(facts.product),
        "product_index": facts.product_index,
        "model": _utf8(facts.model),
        "camera": int(facts.camera),
        "disk": int(facts.disk),
        "outbox": facts.outbox,
        "last_seq": facts.last_seq,
        "uptime_s": facts.uptime_s,
    }


def event_json(facts: Mapping[str, object]) -> str:
    """Return one event; `facts` has at least "event". Booleans become 0 and 1, long texts are cut."""
    return _dumps(
        {
            key: int(value) if isinstance(value, bool) else _cut(value) if isinstance(value, str) else value
            for key, value in facts.items()
        }
    )


def reply_json(rid: int, *, code: int, reason: str = "", ms: int = 0) -> str:
    """Return the answer to one command; it went well when `code` is 0."""
    return _dumps(
        {
            "rid": rid,
            "ok": int(code == 0),
            "code": code,
            "reason": _cut(reason),
            "ms": ms,
        }
    )


def parse_command(incoming: Incoming) -> Command | Refused:
    """Understand one message below `B/cmd/`; what cannot be understood is refused with its reason."""
    rid = 0
    try:
        facts = _object(incoming.payload)
        rid = _whole(facts, "rid", 1, RID_MAX)
        return _command(incoming, rid, facts)
    except _Malformed as error:
        return Refused(incoming.name, rid, str(error))


def _command(incoming: Incoming, rid: int, facts: dict[str, object]) -> Command:
    name = incoming.name
    if name not in COMMANDS:
        raise _Malformed(f"unknown command {name[:32]!r}; known are {', '.join(COMMANDS)}")
    if incoming.retained:
        raise _Malformed("retained commands are refused; publish it without the retain flag")
    if name == "trigger":
        part, exp_ms = _text(facts, "part"), _whole(facts, "exp_ms", 0, 2**53, default=0)
        return Command(name, rid, part=part, exp_ms=exp_ms)
    if name == "product":
        product, index = _text(facts, "product"), _whole(facts, "index", 0, 999, default=0)
        if bool(product) == bool(index):
            raise _Malformed("give either product or index")
        return Command(name, rid, product=product, index=index)
    return Command(name, rid)


class _Malformed(ValueError):
    """Why a command cannot be understood."""


def _object(payload: bytes) -> dict[str, object]:
    if len(payload) > COMMAND_BYTES_MAX:
        raise _Malformed(f"the payload is longer than {COMMAND_BYTES_MAX} bytes")
    try:
        facts = json.loads(payload)
    except (ValueError, RecursionError):
        facts = None
    if not isinstance(facts, dict):
        raise _Malformed('the payload must be a JSON object, for example {"rid":17}')
    return facts


def _whole(facts: dict[str, object], key: str, low: int, high: int, default: int | None = None) -> int:
    value = facts.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise _Malformed(f"{key} must be a whole number from {low} to {high}")
    return value


def _text(facts: dict[str, object], key: str) -> str:
    value = facts.get(key, "")
    if not isinstance(value, str) or len(value) > PART_CHARACTERS_MAX or not value.isprintable():
        raise _Malformed(f"{key} must be a text of at most {PART_CHARACTERS_MAX} printable characters")
    return value


def _dumps(facts: Mapping[str, object]) -> str:
    return json.dumps(facts, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _utf8(text: str) -> str:
    """Replace what UTF-8 cannot carry: a file name may hold lone surrogates."""
    return text.encode("utf-8", "replace").decode()


def _cut(text: str) -> str:
    """Keep what fits: a broker may end the connection of whoever sends it more than it takes."""
    return text.encode("utf-8", "replace")[:TEXT_BYTES_MAX].decode(errors="ignore")


def _shortened(text: str, excess: int) -> str:
    """Drop characters from the end until at least `excess` bytes of JSON are saved, or all."""
    saved = 0
    while text and saved < excess:
        saved += len(_dumps({"": text[-1]}).encode()) - len(b'{"":""}')
        text = text[:-1]
    return text


def _clamp(value: int, limit: int) -> int:
    return max(0, min(value, limit))


def _short_float(value: float) -> float:
    """Keep 6 significant digits, so that the number has at most 12 characters."""
    return float(f"{value:.6g}") if math.isfinite(value) else 0.0


assert max(Reason) <= 99, "a reason has two digits on the PLC's line"
