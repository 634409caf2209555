"""The MQTT contract: topics, payloads, the fixed-width PLC line and the status word. No I/O."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

from linewatch.domain import Reason, ReplyCode, Result, State, Verdict

VERDICT_BYTES_MAX = 500
CLIENT_ID_CHARACTERS = 23  # Every broker has to accept so many letters and digits (MQTT 3.1.1, 3.1.3.1).
NAME_CHARACTERS_MAX = 32  # Of a command; its reply goes to a topic of that name.
TEXT_BYTES_MAX = 200  # Of a reason, and of each text in an event.
COMMANDS = ("trigger", "product", "selftest", "pause", "resume", "reset", "rebirth")


@dataclass(frozen=True, slots=True)
class Topics:
    """Every topic of one station below its base topic."""

    base: str

    @property
    def online(self) -> str:
        """Return the topic of the retained "1"; the Last Will and a clean stop set it to "0"."""
        return f"{self.base}/online"

    @property
    def state(self) -> str:
        """Return the topic of the retained state, as JSON."""
        return f"{self.base}/state"

    @property
    def verdict(self) -> str:
        """Return the topic of the live verdicts, as JSON."""
        return f"{self.base}/verdict"

    @property
    def plc_verdict(self) -> str:
        """Return the topic of the live verdicts as 33-character lines."""
        return f"{self.base}/plc/verdict"

    @property
    def plc_word(self) -> str:
        """Return the topic of the status word."""
        return f"{self.base}/plc/word"

    @property
    def history(self) -> str:
        """Return the topic of every journaled verdict, in order, at least once."""
        return f"{self.base}/history"

    @property
    def replies(self) -> str:
        """Return the topic below which MQTT 5 clients may ask for replies."""
        return f"{self.base}/reply"

    @property
    def event(self) -> str:
        """Return the topic of events, as JSON."""
        return f"{self.base}/event"

    @property
    def commands(self) -> str:
        """Return the filter that matches every command and no reply."""
        return f"{self.base}/cmd/+"


@dataclass(frozen=True, slots=True, kw_only=True)
class StateFacts:
    """The content of `B/state`, in the order of its keys."""

    station: str
    boot: int
    state: State
    reason: str = ""
    product: str = ""
    product_index: int = 0
    model: str = ""
    camera: bool = False  # Whether it delivers frames.
    disk: bool = True  # Whether journal rows and evidence can be written.
    outbox: int = 0  # Verdicts not yet published on the history topic.
    last_seq: int = 0
    uptime_s: int = 0
    model_sha256: str = ""  # Of the manifest of the version in use: proof of what judges.
    rebirths: int = 0  # Not published; counts the requests to publish everything again.

    @property
    def change_key(self) -> tuple[object, ...]:
        """Return the fields whose change is published at once: all but the counters."""
        return (
            self.state,
            self.reason,
            self.product,
            self.product_index,
            self.model,
            self.model_sha256,
            self.camera,
            self.disk,
            self.rebirths,
        )


@dataclass(frozen=True, slots=True)
class Message:
    """A message to publish: topic and UTF-8 payload."""

    topic: str
    payload: str

    @property
    def data(self) -> bytes:
        """The payload's bytes."""
        return self.payload.encode()


@dataclass(frozen=True, slots=True)
class BinaryMessage:
    """A message to publish whose payload is no text."""

    topic: str
    data: bytes


Outgoing = Message | BinaryMessage


@dataclass(frozen=True, slots=True)
class Incoming:
    """A received message, with its response topic and correlation data (MQTT 5)."""

    topic: str
    payload: bytes
    retained: bool = False
    reply_to: str = ""
    correlation: bytes = b""

    @property
    def name(self) -> str:
        """Return the last level of the topic, which is the command's name."""
        return self.topic.rpartition("/")[2]

    @property
    def answerable(self) -> bool:
        """Whether the reply's topic is short enough for every broker and PLC."""
        return len(self.name) <= NAME_CHARACTERS_MAX


@dataclass(frozen=True, slots=True)
class Command:
    """A well-formed command. Whether it can be carried out now is decided elsewhere."""

    name: str
    rid: int  # 1 to 65535.
    part: str = ""  # trigger: which part this is.
    exp_ms: int = 0  # trigger: expiry as the sender gave it, 0 if it never expires.
    product: str = ""  # product: by name, or
    index: int = 0  # by the PLC's number, 1 to 999; 0 if named.
    who: str = "mqtt"  # Its origin, for the audit.


@dataclass(frozen=True, slots=True)
class InvalidCommand:
    """A command that cannot be parsed, with the reason. `rid` is 0 if that could not be read either."""

    name: str
    rid: int
    reason: str
    code: ReplyCode = ReplyCode.BAD_ARGUMENT


def verdict_json(verdict: Verdict, *, history: bool) -> str:
    """Return `verdict_payload` as JSON text."""
    return _fit_verdict(verdict, history)[1]


def verdict_payload(verdict: Verdict, *, history: bool) -> dict[str, object]:
    """Return the flat JSON object of a verdict: at most 500 bytes as UTF-8 text.

    Numbers saturate at their largest width; a score that is not finite becomes 0. Should the
    text be too long, an empty `region` and its index are left out, then `part` is shortened, then `region`,
    `model` and `product`, then the evidence paths are left out: code, boot and seq are never touched.
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
        "region": _utf8(verdict.region),
        "region_index": verdict.region_index,
        "image": verdict.image,
        "heatmap": verdict.heatmap,
    }
    text = _dumps(facts)
    if not verdict.region and len(text.encode()) > VERDICT_BYTES_MAX:
        del facts["region"], facts["region_index"]  # They say nothing, and a part's code must stay whole.
        text = _dumps(facts)
    for key in ("part", "region", "model", "product", "heatmap", "image"):
        excess = len(text.encode()) - VERDICT_BYTES_MAX
        if excess <= 0:
            break
        if key not in facts:
            continue
        # A shortened path would name no file.
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
    """Return the status word, 0 to 65535; bit 8 is the lowest bit of `last_seq`."""
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
    """Return the payload of the status word: unsigned decimal ASCII."""
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
        "reason": _truncated(facts.reason),
        "product": _utf8(facts.product),
        "product_index": facts.product_index,
        "model": _utf8(facts.model),
        "camera": int(facts.camera),
        "disk": int(facts.disk),
        "outbox": facts.outbox,
        "last_seq": facts.last_seq,
        "uptime_s": facts.uptime_s,
        "model_sha256": facts.model_sha256,
    }


def event_json(facts: Mapping[str, object]) -> str:
    """Return one event; `facts` has at least "event". Booleans become 0 and 1, long texts are cut."""
    return _dumps(
        {
            key: int(value)
            if isinstance(value, bool)
            else _truncated(value)
            if isinstance(value, str)
            else value
            for key, value in facts.items()
        }
    )


def reply_json(rid: int, *, code: int, reason: str = "", ms: int = 0) -> str:
    """Return the reply to one command; `ok` is 1 when `code` is 0."""
    return _dumps(
        {
            "rid": rid,
            "ok": int(code == 0),
            "code": code,
            "reason": _truncated(reason),
            "ms": ms,
        }
    )


def shorten_client_id(client_id: str) -> str:
    """Return an id that every broker accepts: the same 23 letters and digits for the same `client_id`."""
    digest = hashlib.sha256(client_id.encode()).hexdigest()
    return f"linewatch{digest}"[:CLIENT_ID_CHARACTERS]


def _dumps(facts: Mapping[str, object]) -> str:
    return json.dumps(facts, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _utf8(text: str) -> str:
    """Replace lone surrogates, which a file name may hold, because UTF-8 cannot encode them."""
    return text.encode("utf-8", "replace").decode()


def _truncated(text: str) -> str:
    """Keep the first 200 bytes: a broker may close the connection of a client that sends larger packets."""
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
