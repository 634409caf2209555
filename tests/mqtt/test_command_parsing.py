"""Commands as PLCs, scanners and scripts send them: what is meant is done, the rest is refused by its rid."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linewatch.mqtt.command_parsing import parse_command
from linewatch.mqtt.messages import COMMANDS, Command, Incoming, InvalidCommand

GS1 = "\x1d010401234512345617261231\x1d10AB\x1e\x04\x1c"


def ask(name: str, payload: object, *, retained: bool = False) -> Command | InvalidCommand:
    """Send one command."""
    text = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return parse_command(Incoming(f"linewatch/station1/cmd/{name}", text, retained))


def test_commands_are_understood() -> None:
    """Each command of the contract becomes a value."""
    assert ask("trigger", {"rid": 1, "part": "A1", "exp_ms": 5}) == Command("trigger", 1, "A1", 5)
    assert ask("trigger", {"rid": 65535}) == Command("trigger", 65535)
    assert ask("product", {"rid": 2, "product": "bottle"}) == Command("product", 2, product="bottle")
    assert ask("product", {"rid": 2, "index": 3}) == Command("product", 2, index=3)
    for name in COMMANDS[2:]:
        assert ask(name, {"rid": 9}) == Command(name, 9)


@pytest.mark.parametrize(
    ("name", "payload", "rid", "why"),
    [
        ("pause", b"", 0, "JSON object"),
        ("pause", b"\xff\xfe{", 0, "JSON object"),
        ("pause", b"[1]", 0, "JSON object"),
        ("pause", b"[" * 4000, 0, "JSON object"),
        ("pause", b" " * 5000, 0, "longer than"),
        ("pause", {}, 0, "rid"),
        ("pause", {"rid": 0}, 0, "rid"),
        ("pause", {"rid": 65536}, 0, "rid"),
        ("pause", {"rid": True}, 0, "rid"),
        ("pause", {"rid": "7"}, 7, "rid must be a whole number"),
        ("pause", {"rid": 7.5}, 7, "rid must be a whole number"),
        ("fly", {"rid": 7}, 7, "unknown command 'fly'"),
        ("trigger", b'{"rid":7,"part":"A","part":"B"}', 7, "key 'part' comes twice"),
        ("trigger", {"rid": 7, "part": True}, 7, "part"),
        ("trigger", {"rid": 7, "part": ["A"]}, 7, "part"),
        ("trigger", {"rid": 7, "part": "x" * 129}, 7, "at most 128 characters; it has 129"),
        ("trigger", {"rid": 7, "part": "\ud800"}, 7, "part"),
        ("trigger", {"rid": 7, "exp_ms": -1}, 7, "exp_ms"),
        ("product", {"rid": 7}, 7, "either"),
        ("product", {"rid": 7, "product": "a", "index": 2}, 7, "either"),
        ("product", {"rid": 7, "index": 1000}, 7, "index"),
        ("product", {"rid": 7, "product": 3}, 7, "a number goes into index"),
        ("product", {"rid": 7, "product": "a\nb"}, 7, "printable"),
    ],
)
def test_what_cannot_be_understood_is_refused(name: str, payload: object, rid: int, why: str) -> None:
    """A bad request is a value with its reason, never an exception in the network thread."""
    answer = ask(name, payload)

    assert isinstance(answer, InvalidCommand)
    assert (answer.rid, answer.code) == (rid, 4)
    assert why in answer.reason


def test_retained_commands_are_refused() -> None:
    """A retained trigger would fire at every reconnect."""
    answer = ask("trigger", {"rid": 7}, retained=True)

    assert isinstance(answer, InvalidCommand)
    assert "retain" in answer.reason


@given(st.binary(max_size=200), st.sampled_from(COMMANDS))
def test_no_payload_breaks_the_parser(payload: bytes, name: str) -> None:
    """Any payload becomes a Command or an InvalidCommand."""
    assert isinstance(ask(name, payload), Command | InvalidCommand)


@pytest.mark.parametrize(
    "payload",
    [
        b'{"rid":17}\0',
        b'{"rid":17}\0\0\0',
        b'{"rid":17}' + bytes(246),
        b'{"rid":17}\0ed":3,"part":"left over in the buffer"}',
        b'{"rid":17}' + bytes(5000),
        b'\xef\xbb\xbf{"rid":17}\r\n\0',
        '{"rid":17}'.encode("utf-16-le"),
        '{"rid":17}\0'.encode("utf-16"),
        b'{"rid":17.0}',
        b'{"rid":17,"part":null,"product":"","index":0,"exp_ms":0}',
    ],
)
def test_a_string_buffer_is_a_command(payload: bytes) -> None:
    """A PLC sends its whole string variable: NULs, a byte-order mark, wide characters, unused fields."""
    assert ask("trigger", payload) == Command("trigger", 17)
    assert ask("selftest", payload) == Command("selftest", 17)


@pytest.mark.parametrize(
    ("payload", "part"),
    [
        (json.dumps({"rid": 7, "part": GS1}).encode(), GS1),
        (b'{"rid":7,"part":"' + GS1.encode() + b'"}', GS1),
        (b'{"rid":7,"part":"A\r\n"}\0', "A\r\n"),
        (b'{"rid":7,"part":"A\\u0000"}', "A\0"),
        (b'{"rid":7,"part":"' + b"x" * 128 + b'"}', "x" * 128),
        ('{"rid":7,"part":"Stück 5 µm"}'.encode(), "Stück 5 µm"),
        ('{"rid":7,"part":"Stück 5 µm"}'.encode("latin-1"), "Stück 5 µm"),
        (b'{"rid":7,"part":4012345678901}', "4012345678901"),
        (b'{"rid":7,"part":0}', "0"),
        (b'{"rid":7,"part":-1.50}', "-1.50"),
        (b'{"rid":7,"part":12345678901234567890.10}', "12345678901234567890.10"),
        (b'{"rid":7,"part":1e5}', "1e5"),
    ],
)
def test_a_part_is_kept_as_it_was_scanned(payload: bytes, part: str) -> None:
    """Control characters, escaped or not, Latin-1 bytes and numbers arrive as their text."""
    assert ask("trigger", payload) == Command("trigger", 7, part)


@pytest.mark.parametrize(
    ("name", "facts", "why"),
    [
        ("trigger", {"rid": 7, "prat": "A"}, "unknown key 'prat'; did you mean part?"),
        ("trigger", {"rid": 7, "Part": "A"}, "unknown key 'Part'; did you mean part?"),
        ("trigger", {"rid": 7, "expms": 5}, "unknown key 'expms'; did you mean exp_ms?"),
        ("trigger", {"rid": 7, "barcode": "A"}, "unknown key 'barcode'; trigger takes rid, part, exp_ms"),
        ("trigger", {"RID": 7}, "unknown key 'RID'; did you mean rid?"),
        ("product", {"rid": 7, "idx": 3}, "unknown key 'idx'; did you mean index?"),
        ("product", {"rid": 7, "index": 3, "part": "A"}, "unknown key 'part'"),
        ("pause", {"rid": 7, "note": "x"}, "unknown key 'note'; pause takes rid"),
    ],
)
def test_a_misspelt_key_is_named(name: str, facts: dict[str, object], why: str) -> None:
    """A key that would be ignored is refused with its name and the one that was meant."""
    answer = ask(name, facts)

    assert isinstance(answer, InvalidCommand)
    assert (answer.rid, answer.code) == (7, 4)
    assert why in answer.reason


@pytest.mark.parametrize(
    "payload",
    [
        b'{"rid":17,"part":"A"',
        b'{"rid":17,"part":"say "hi""}',
        b'{"rid":17,"part":00123}',
        b'{"rid":17,"part":"C:\\dir"}',
        b'{"part":"\xff","rid": 17,}',
        b"{'rid':17}",
        b"{rid:17}",
        b"rid=17",
        b'{"rid":17}{"rid":18}',
        b'[{"rid":17}]',
        b'{"rid":17,"part":NaN}',
        b'{"rid":17,"part":"' + b"x" * 5000 + b'"}',
        b'{"rid":17,"part":"' + b"x" * 200_000 + b'"}',
    ],
)
def test_a_damaged_command_is_refused_with_its_rid(payload: bytes) -> None:
    """The sender can match the refusal with its request."""
    answer = ask("trigger", payload)

    assert isinstance(answer, InvalidCommand)
    assert (answer.rid, answer.code) == (17, 4)
    assert answer.reason.count("\n") == 0 and len(answer.reason) < 120
