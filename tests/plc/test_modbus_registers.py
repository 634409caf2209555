"""The registers: what a client reads is one part's verdict, in time, or no PASS."""

from collections.abc import Callable

import pytest

from linewatch.domain import Answer, Reason, ReplyCode, Result, State
from linewatch.mqtt.live import Announcement
from linewatch.mqtt.messages import Command, InvalidCommand, StateFacts, status_word
from linewatch.plc.modbus.registers import Registers
from tests.fakes import verdict

BLOCK = slice(10, 30)


class Rig:
    """Registers beside a station whose state, clock and answers the test sets."""

    def __init__(self) -> None:
        self.state = State.READY
        self.product_index = 3
        self.now_s = 100.0
        self.during_announce: Callable[[], None] = lambda: None
        self.commands: list[Command | InvalidCommand] = []
        self.answers: list[Callable[[Answer], None]] = []
        self.registers = Registers(
            self._announce,
            self._submit,
            pass_s=2.0,
            watchdog_s=2.0,
            clock_ns=lambda: round(self.now_s * 1e9),
        )

    def _announce(self) -> Announcement:
        self.during_announce()
        boot = 65_536 + 41  # Its low word is 41.
        facts = StateFacts(station="s", boot=boot, state=self.state, product_index=self.product_index)
        return Announcement(facts, status_word(self.state))

    def _submit(self, command: Command | InvalidCommand, done: Callable[[Answer], None]) -> None:
        self.commands.append(command)
        self.answers.append(done)

    def read(self) -> list[int]:
        """Return registers 0 to 47 as one request gives them."""
        registers = self.registers.read(0, 48)
        assert registers is not None
        return registers

    def trigger(self, number: int, text: bytes = b"", expiry_ms: int = 0) -> None:
        """Write a trigger with its part in one request."""
        words = text.ljust(64, b"\0")
        part = [int.from_bytes(words[at : at + 2], "big") for at in range(0, 64, 2)]
        assert self.registers.write(110, [number, expiry_ms, *part])


def test_a_verdict_stands_where_the_map_says() -> None:
    """Every register of the block, with the block's number at both ends."""
    rig = Rig()
    facts = {
        "boot": 65_577,
        "trigger": 17,
        "latency_ms": 24,
        "box": (412, 80, 60, 44),
        "defects": 2,
        "region_index": 5,
    }
    rig.registers.publish(verdict(70_000, Result.FAIL, late=True, simulated=True, **facts))
    rig.now_s += 0.25

    assert rig.read()[BLOCK] == [
        1, 41, 1, 4464, 2, 10, 3, 24, 1155, 412, 80, 60, 44, 17, 250, 2, 3, 5, 0, 1,
    ]  # fmt: skip


def test_before_the_first_verdict_the_block_is_empty() -> None:
    """Number and code are 0; only the boot can be read."""
    assert Rig().read()[BLOCK] == [0, 41, *[0] * 18]


def test_what_does_not_fit_saturates() -> None:
    """Score, box and latency stay at 65535; none wraps to a small number."""
    rig = Rig()
    large = {"raw": 1e6, "threshold": 1.0, "latency_ms": 70_000, "box": (70_000, 0, 70_000, 1)}
    rig.registers.publish(verdict(1, Result.FAIL, **large))

    assert rig.read()[17:23] == [65_535, 65_535, 65_535, 0, 65_535, 1]


def test_the_block_number_grows_by_one_and_is_never_0_again() -> None:
    """After 65535 comes 1: a reader sees every block as new."""
    rig = Rig()
    for seq in range(1, 65_536):
        rig.registers.publish(verdict(seq))
    assert (rig.read()[10], rig.read()[29]) == (65_535, 65_535)

    rig.registers.publish(verdict(65_536))

    assert (rig.read()[10], rig.read()[29]) == (1, 1)


@pytest.mark.parametrize(("age_s", "code"), [(0.0, 1), (1.999, 1), (2.001, 0), (3600.0, 0)])
def test_a_pass_can_be_read_only_for_a_while(age_s: float, code: int) -> None:
    """A client that comes, or comes back, after 2 s reads no PASS of an old part."""
    rig = Rig()
    rig.registers.publish(verdict(1))
    rig.now_s += age_s

    assert rig.read()[14] == code
    assert rig.read()[10] == 1


@pytest.mark.parametrize("state", State)
def test_a_pass_can_be_read_only_while_parts_can_pass(state: State) -> None:
    """Changeover, pause, fault and stop withdraw it at once, together with bit 1 of the word."""
    rig = Rig()
    rig.registers.publish(verdict(1))

    rig.state = state

    registers = rig.read()
    assert registers[14] == int(state.judging)
    assert bool(registers[0] & 2) is state.judging


def recent(rig: Rig) -> list[list[int]]:
    """Return the recent blocks, the newest first, as one request gives the first six and another the rest."""
    registers = [*(rig.registers.read(200, 120) or []), *(rig.registers.read(320, 40) or [])]
    return [registers[at : at + 20] for at in range(0, 160, 20)]


def test_the_last_eight_blocks_can_be_read_the_newest_first() -> None:
    """Each as it was in 10 to 29; a client that polls too slowly misses no verdict."""
    rig = Rig()
    assert recent(rig) == [[0] * 20] * 8
    results = [Result.FAIL, Result.PASS]
    for seq in range(1, 11):
        rig.registers.publish(verdict(seq, results[seq % 2], trigger=100 + seq))

    blocks = recent(rig)

    assert blocks[0] == rig.read()[BLOCK]
    numbers = [10, 9, 8, 7, 6, 5, 4, 3]
    assert [(b[0], b[3], b[13], b[19]) for b in blocks] == [(n, n, 100 + n, n) for n in numbers]
    assert [b[4] for b in blocks] == [2, 1, 2, 1, 2, 1, 2, 1]


def test_every_recent_pass_is_withdrawn_as_the_newest_is() -> None:
    """By age each for itself; by a pause, or another product, all at once and for good; rejects stay."""
    rig = Rig()
    for seq in (1, 2):
        rig.registers.publish(verdict(seq, Result.PASS))
        rig.now_s += 1.5
    rig.registers.publish(verdict(3, Result.FAIL))
    codes = [[block[4] for block in recent(rig)[:3]]]
    for rig.state in (State.PAUSED, State.READY):
        codes.append([block[4] for block in recent(rig)[:3]])
    rig.registers.publish(verdict(4, Result.PASS))
    codes.append([block[4] for block in recent(rig)[:3]])
    rig.product_index = 4
    codes.append([block[4] for block in recent(rig)[:3]])

    assert codes == [[2, 1, 0], [2, 0, 0], [2, 0, 0], [1, 2, 0], [0, 2, 0]]


def test_a_pass_before_two_changeovers_stays_withdrawn() -> None:
    """The product is again that of the part, but a verdict of another one came between: it was changed."""
    rig = Rig()
    rig.registers.publish(verdict(1, Result.PASS))
    rig.registers.publish(verdict(2, Result.FAIL, product_index=4))

    assert [block[4] for block in recent(rig)[:2]] == [2, 0]


@pytest.mark.parametrize("result", [Result.FAIL, Result.UNSURE, Result.ERROR])
def test_a_reject_stays_what_it_is(result: Result) -> None:
    """It is not withdrawn: the PLC may learn later why."""
    rig = Rig()
    rig.registers.publish(verdict(1, result))
    rig.state, rig.now_s = State.FAULT, rig.now_s + 60

    assert rig.read()[14] == result.code


def test_a_changeover_between_block_and_state_withdraws_the_pass() -> None:
    """The block is taken before the state: one that begins in between is seen."""
    rig = Rig()
    rig.registers.publish(verdict(1))

    def change() -> None:
        rig.state = State.CHANGEOVER
        rig.registers.publish(verdict(2, Result.ERROR, reason=Reason.NOT_READY))

    rig.during_announce = change

    assert rig.read()[14] == 0


def test_a_pass_does_not_come_back_after_a_short_pause() -> None:
    """Once it could not be read any more it stays withdrawn; the next part's PASS can be read."""
    rig = Rig()
    rig.registers.publish(verdict(1, Result.PASS))
    codes = [rig.read()[14]]
    for rig.state in (State.PAUSED, State.READY):
        codes.append(rig.read()[14])
    rig.registers.publish(verdict(2, Result.PASS))

    assert [*codes, rig.read()[14]] == [1, 0, 0, 1]


def test_a_pass_of_the_product_before_cannot_be_read() -> None:
    """Also if no client read anything during the changeover."""
    rig = Rig()
    rig.registers.publish(verdict(1, Result.PASS))
    rig.product_index = 4

    assert rig.read()[14] == 0


def test_a_request_is_carried_out_once() -> None:
    """The same number again, as from a client that writes cyclically, is the same request."""
    rig = Rig()
    for _ in range(5):
        rig.trigger(17, b"A0")
    assert rig.commands == [Command("trigger", 17, part="A0", who="modbus")]
    assert rig.read()[30:32] == [0, 0]  # Not answered yet.

    rig.answers[0](Answer(ReplyCode.BUSY))
    assert rig.read()[30:32] == [17, 2]

    rig.trigger(18)
    rig.answers[1](Answer(ReplyCode.DONE))
    assert [command.rid for command in rig.commands] == [17, 18]
    assert rig.read()[30:32] == [18, 0]


def test_a_request_of_0_is_none() -> None:
    """Cleared memory triggers nothing, and does not make the number before it new."""
    rig = Rig()
    rig.trigger(17)
    rig.trigger(0)
    rig.trigger(17)

    assert [command.rid for command in rig.commands] == [17]


def test_arguments_may_be_written_one_by_one_before_the_number() -> None:
    """Nothing happens until the request number changes."""
    rig = Rig()
    rig.registers.write(112, [0x4130])
    rig.registers.write(111, [150])
    assert rig.commands == []

    rig.registers.write(110, [3])

    assert rig.commands == [Command("trigger", 3, part="A0", exp_ms=150, who="modbus")]


def test_a_part_is_not_named_after_the_one_before() -> None:
    """Text and expiry belong to one trigger and are cleared with it."""
    rig = Rig()
    rig.trigger(1, b"A1\x1d07", expiry_ms=100)
    rig.registers.write(110, [2])

    assert rig.commands == [
        Command("trigger", 1, part="A1\x1d07", exp_ms=100, who="modbus"),
        Command("trigger", 2, who="modbus"),
    ]
    assert rig.registers.read(110, 4) == [2, 0, 0, 0]


@pytest.mark.parametrize(
    ("text", "part"), [(b"\xc3\xa4", "ä"), (b"\xe4", "ä"), (b"ab\0cd", "ab"), (b"x" * 64, "x" * 64)]
)
def test_a_part_is_read_as_in_mqtt_commands(text: bytes, part: str) -> None:
    """UTF-8, else Latin-1; up to the first NUL."""
    rig = Rig()
    rig.trigger(1, text)

    assert rig.commands == [Command("trigger", 1, part=part, who="modbus")]


@pytest.mark.parametrize(("boot", "refused"), [(0, False), (41, False), (40, True)])
def test_a_request_from_before_a_restart_is_refused(boot: int, refused: bool) -> None:
    """A client that repeats its registers after the station started again triggers no part."""
    rig = Rig()
    rig.registers.write(101, [boot])
    rig.trigger(5)

    (command,) = rig.commands
    assert isinstance(command, InvalidCommand) is refused
    assert getattr(command, "code", ReplyCode.DONE) == (ReplyCode.EXPIRED if refused else ReplyCode.DONE)


def test_product_and_controls_are_commands_of_their_own() -> None:
    """Each has its own number and answer; unknown ones are refused by name."""
    rig = Rig()
    rig.registers.write(150, [1, 3])
    rig.registers.write(160, [1, 2])
    rig.registers.write(150, [2, 0])
    rig.registers.write(160, [2, 9])
    rig.answers[0](Answer(ReplyCode.SELFTEST_FAILED))
    rig.answers[1](Answer(ReplyCode.DONE))

    assert rig.commands[:2] == [
        Command("product", 1, index=3, who="modbus"),
        Command("pause", 1, who="modbus"),
    ]
    product, control = rig.commands[2:]
    assert isinstance(product, InvalidCommand) and product.code is ReplyCode.BAD_ARGUMENT
    assert isinstance(control, InvalidCommand)
    assert control.reason == (
        "control 9 is not one of 1 (reset), 2 (pause), 3 (resume), 4 (selftest), 5 (rebirth)"
    )
    assert rig.read()[30:36] == [0, 0, 1, 6, 1, 0]


@pytest.mark.parametrize(
    ("first", "count"), [(0, 49), (48, 1), (99, 1), (99, 2), (163, 2), (199, 2), (359, 2), (65_535, 1)]
)
def test_there_are_no_registers_outside_the_map(first: int, count: int) -> None:
    """Neither to read nor to write; and a write that reaches beyond writes nothing."""
    rig = Rig()
    assert rig.registers.read(first, count) is None
    assert not rig.registers.write(first, [7] * count)
    assert not rig.registers.write(14, [1])

    assert rig.registers.read(100, 64) == [0] * 64


def test_the_watchdog_follows_the_clients_heartbeat() -> None:
    """Off until one is written, alive while it changes, lost 2 s after its last change, off again with 0."""
    rig = Rig()
    seen = [rig.read()[4]]
    for beat, after_s in ((5, 0.0), (5, 1.9), (5, 2.1), (6, 0.0), (0, 0.0)):
        rig.now_s += after_s
        rig.registers.write(100, [beat])
        seen.append(rig.read()[4])

    assert seen == [0, 1, 1, 2, 1, 0]
