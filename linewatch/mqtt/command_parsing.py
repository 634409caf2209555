"""Parse command payloads as PLCs, scanners and scripts send them. No I/O."""

import difflib
import json
import re
from typing import NoReturn

from linewatch.mqtt.messages import COMMANDS, Command, Incoming, InvalidCommand

COMMAND_BYTES_MAX = 4096
PART_CHARACTERS_MAX = 128
PRODUCT_CHARACTERS_MAX = 64
RID_MAX = 65_535
KEYS = {"trigger": ("rid", "part", "exp_ms"), "product": ("rid", "product", "index")}
ALL_KEYS = ("rid", "part", "exp_ms", "product", "index")

_RID = re.compile(r"""(?:^|[{,\s])["']?rid["']?\s*[:=]\s*["']?(\d{1,5})(?!\d)""", re.IGNORECASE | re.ASCII)


def parse_command(incoming: Incoming) -> Command | InvalidCommand:
    """Parse one message below `B/cmd/`.

    The payload is JSON in UTF-8, UTF-16 or, if it is neither, Latin-1. It ends at the first NUL byte, as a
    C string does. Control characters inside texts need no escape: scanned codes hold GS and RS. A rid is
    taken from a damaged payload too, so that the sender can match the refusal.
    """
    text = _decode(incoming.payload[:COMMAND_BYTES_MAX])
    try:
        _refuse_oversized(incoming.payload)
        return _command(incoming.name, incoming.retained, _object(text))
    except _Malformed as error:
        return InvalidCommand(incoming.name, _find_rid(text), str(error))


def _command(name: str, retained: bool, facts: dict[str, object]) -> Command:
    if name not in COMMANDS:
        raise _Malformed(f"unknown command {name[:32]!r}; known are {', '.join(COMMANDS)}")
    if retained:
        raise _Malformed("retained commands are refused; publish it without the retain flag")
    _refuse_unknown_keys(name, facts)
    rid = _integer(facts, "rid", 1, RID_MAX)
    if name == "trigger":
        return Command(name, rid, part=_part(facts), exp_ms=_integer(facts, "exp_ms", 0, 2**53, default=0))
    if name == "product":
        product, index = _product(facts), _integer(facts, "index", 0, 999, default=0)
        if bool(product) == bool(index):
            raise _Malformed("give either product or index")
        return Command(name, rid, product=product, index=index)
    return Command(name, rid)


class _Malformed(ValueError):
    """A command cannot be parsed; the text is the reason in the reply."""


class _Decimal(float):
    """A JSON number with a point or an exponent, and its text as sent."""

    def __new__(cls, text: str) -> "_Decimal":
        number = super().__new__(cls, text)
        number.text = text
        return number

    text: str


def _refuse_oversized(payload: bytes) -> None:
    if len(payload.rstrip(b"\0")) > COMMAND_BYTES_MAX:
        raise _Malformed(f"the payload is longer than {COMMAND_BYTES_MAX} bytes")


def _decode(payload: bytes) -> str:
    encoding = json.detect_encoding(payload)  # From a byte-order mark or the NULs between ASCII characters.
    try:
        text = payload.decode(encoding)
    except UnicodeDecodeError:
        text = payload.decode("latin-1")  # Every byte is a character: nothing is lost.
    return text.partition("\0")[0]


def _object(text: str) -> dict[str, object]:
    try:
        # Not strict: a PLC that concatenates a scanned code does not escape its control characters.
        facts = json.loads(
            text,
            strict=False,
            parse_float=_Decimal,
            parse_constant=_refuse_constant,
            object_pairs_hook=_distinct,
        )
    except _Malformed:
        raise
    except (ValueError, RecursionError):
        facts = None
    if not isinstance(facts, dict):
        raise _Malformed('the payload must be a JSON object, for example {"rid":17}')
    return {key: value for key, value in facts.items() if value is not None}


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return the pairs as an object; of a key that comes twice one value would be ignored."""
    facts = dict(pairs)
    if len(facts) < len(pairs):
        names = [key for key, _ in pairs]
        twice = next(key for key in names if names.count(key) > 1)
        raise _Malformed(f"key {twice[:32]!r} comes twice; send it once")
    return facts


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)  # NaN and Infinity are not JSON.


def _find_rid(text: str) -> int:
    """Return the rid of a payload that cannot be parsed, 0 if there is none."""
    found = _RID.search(text)
    rid = int(found[1]) if found else 0
    return rid if rid <= RID_MAX else 0


def _refuse_unknown_keys(name: str, facts: dict[str, object]) -> None:
    """Refuse what would be ignored: a misspelt key, or a value that this command does not take."""
    known = KEYS.get(name, ("rid",))
    for key, value in facts.items():
        if key in known or (key in ALL_KEYS and value in ("", 0)):  # One structure for all commands.
            continue
        close = difflib.get_close_matches(key.lower(), known, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]}?" if close else f"{name} takes {', '.join(known)}"
        raise _Malformed(f"unknown key {key[:32]!r}; {hint}")


def _integer(facts: dict[str, object], key: str, low: int, high: int, default: int | None = None) -> int:
    value = facts.get(key, default)
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # 17.0, from senders that have one type of number.
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise _Malformed(f"{key} must be a whole number from {low} to {high}")
    return value


def _part(facts: dict[str, object]) -> str:
    value = facts.get("part", "")
    if isinstance(value, _Decimal):
        value = value.text
    elif isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise _Malformed("part must be a text or a number")
    if len(value) > PART_CHARACTERS_MAX:
        raise _Malformed(f"part must be at most {PART_CHARACTERS_MAX} characters; it has {len(value)}")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise _Malformed("part has half of a surrogate pair; send the whole character")
    return value


def _product(facts: dict[str, object]) -> str:
    value = facts.get("product", "")
    if not isinstance(value, str) or len(value) > PRODUCT_CHARACTERS_MAX or not value.isprintable():
        raise _Malformed(
            f"product must be a text of at most {PRODUCT_CHARACTERS_MAX} printable characters; "
            "a number goes into index"
        )
    return value
