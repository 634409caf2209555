import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from linewatch.acquisition.triggers import TriggerRequest
from linewatch.domain import Answer, ReplyCode, State
from linewatch.errors import PrepareTimeout, RecipeError, SelfTestFailed
from linewatch.line.commands import CHANGE_S, REPLIES_MAX, REPLIES_S, Commands
from linewatch.line.metrics import Metrics
from linewatch.line.station import Station
from linewatch.mqtt.messages import Command, Incoming
from linewatch.runtime.lane import Lane
from linewatch.runtime.stages import Stage

NOW_MS = 1_790_000_000_000


class FakeChangeover:
    """Keeps what was asked; `trouble` makes it fail as the real one does, leaving FAULT."""

    def __init__(self, station: Station) -> None:
        self._station = station
        self.done: list[str] = []
        self.awaited_due = False
        self.trouble: RecipeError | None = None
        self.meanwhile: Callable[[], object] = lambda: None

    def change(self, product: str, who: str, claim: Callable[[], None]) -> None:
        """Change at once, after what happens meanwhile."""
        self.meanwhile()
        try:
            if self.trouble is None:
                claim()
        except PrepareTimeout as late:
            self.trouble = late
        self._end(f"change {product}")

    def test(self, who: str) -> None:
        """Test at once."""
        self._end("test")

    def reload(self, who: str) -> None:
        """Reload at once."""
        self._end("reload")

    def take_up_awaited(self) -> None:
        """Find the missing files at once."""
        self.awaited_due = False
        self._end("await")

    def _end(self, what: str) -> None:
        self.done.append(what)
        if self.trouble:
            self._station.intend(State.FAULT, str(self.trouble))
            raise self.trouble
        self._station.intend(State.READY)


class Rig:
    """Commands with everything around them; `serve` runs what waits, on the test's own thread."""

    def __init__(self, *, triggered: bool = True) -> None:
        self.now_s = 0.0
        self.metrics = Metrics("test")
        self.station = Station("test", 7, "demo", self.metrics)
        self.station.camera_back(0)
        self.station.intend(State.READY)
        self.changeover = FakeChangeover(self.station)
        self.recipes: Callable[[], Mapping[str, int]] = lambda: {"bottle": 3, "demo": 1}
        self.triggers = Lane[TriggerRequest]("triggers", 1)
        self.commands = Commands(
            self.station,
            self.changeover,
            self._known,
            self.triggers if triggered else None,
            self.metrics,
            clock_s=lambda: self.now_s,
        )
        self.replies: list[dict[str, object]] = []
        self.modes: list[State] = []  # When each reply was given.

    def _known(self) -> Mapping[str, int]:
        return self.recipes()

    def say(self, name: str, *, retained: bool = False, **facts: Any) -> None:
        """Receive one command."""
        payload = json.dumps(facts).encode()
        self.commands.receive(Incoming(f"t/cmd/{name}", payload, retained), self._answered)

    def _answered(self, text: str) -> None:
        self.replies.append(json.loads(text))
        self.modes.append(self.mode)

    def serve(self) -> None:
        """Run everything that waits; nothing can be asked after it."""
        with self.commands:
            pass
        self.commands.serve(Stage("prepare", self.commands.serve))

    def ask(self, name: str, **facts: Any) -> tuple[object, object]:
        """Receive and serve one command; return the reply's code and reason."""
        self.say(name, **facts)
        self.serve()
        assert len(self.replies) == 1, self.replies
        return self.replies[0]["code"], self.replies[0]["reason"]

    @property
    def mode(self) -> State:
        """What the daemon intends."""
        return self.station.snapshot().mode

    def events(self) -> list[tuple[object, object]]:
        """Return name and code of every event."""
        return [(event["event"], event.get("code")) for event in self.station.events]


def test_missing_files_are_looked_for_unless_another_product_was_requested() -> None:
    """The PLC expects the product it named last: the one before must not come back by itself."""
    rig = Rig()
    rig.commands.look_again()
    rig.changeover.awaited_due = True
    rig.commands.look_again()
    rig.commands.look_again()  # It waits already.
    rig.serve()
    assert rig.changeover.done == ["await"]

    rig = Rig()
    rig.say("product", rid=1, product="nowhere")
    rig.changeover.awaited_due = True
    rig.serve()
    assert (rig.changeover.done, rig.mode) == ([], State.FAULT)


def test_a_reply_has_the_request_s_id_and_says_how_it_ended() -> None:
    """The keys are the contract's, in its order."""
    rig = Rig()
    rig.ask("selftest", rid=17)

    (reply,) = rig.replies
    assert list(reply) == ["rid", "ok", "code", "reason", "ms"]
    assert (reply["rid"], reply["ok"], reply["code"], reply["reason"]) == (17, 1, 0, "")
    assert isinstance(reply["ms"], int) and 0 <= reply["ms"] < 10_000


@pytest.mark.parametrize(("facts", "name"), [({"product": "bottle"}, "bottle"), ({"index": 3}, "bottle")])
def test_a_product_is_named_or_numbered(facts: dict[str, Any], name: str) -> None:
    """0 comes only once the changeover is done."""
    rig = Rig()
    rig.say("product", rid=1, **facts)
    assert (rig.replies, rig.changeover.done) == ([], [])
    assert rig.mode is State.CHANGEOVER, "from the moment of asking nothing passes"

    rig.serve()

    assert [(reply["ok"], reply["code"]) for reply in rig.replies] == [(1, 0)]
    assert (rig.changeover.done, rig.mode) == ([f"change {name}"], State.READY)


@pytest.mark.parametrize("facts", [{"product": "screw"}, {"index": 9}, {"product": "../demo"}])
def test_an_unknown_product_is_a_fault(facts: dict[str, Any]) -> None:
    """Code 5, with the known products in its reason; the product still loaded does not judge."""
    rig = Rig()
    code, reason = rig.ask("product", rid=1, **facts)

    assert (code, rig.mode, rig.changeover.done) == (ReplyCode.UNKNOWN, State.FAULT, [])
    assert "known are bottle (3), demo (1)" in str(reason)
    assert rig.events() == [("command_refused", 5)]


@pytest.mark.parametrize("name", ["selftest", "reset", "reload"])
def test_nothing_but_a_known_product_leads_back_from_an_unknown_one(name: str) -> None:
    """5 again: the product that is still loaded is not what was asked for last."""
    rig = Rig()
    rig.say("product", rid=1, product="screw")
    rig.commands.request(Command(name, 2), lambda answer: rig.replies.append({"code": answer.code}))
    rig.say("product", rid=3, product="bottle")
    rig.serve()

    assert [reply["code"] for reply in rig.replies] == [ReplyCode.UNKNOWN, ReplyCode.UNKNOWN, ReplyCode.DONE]
    assert rig.changeover.done == ["change bottle"]


class Clock:
    """Stands for the timer; strikes when the test says so."""

    daemon = False

    def __call__(self, wait_s: float, strike: Callable[[], None]) -> "Clock":
        """Set it."""
        self.wait_s, self.strike = wait_s, strike
        return self

    def start(self) -> None:
        """Run."""

    def cancel(self) -> None:
        """Strike no more."""
        self.strike = lambda: None


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Let the test decide when the time limit of a changeover is over."""
    clock = Clock()
    monkeypatch.setattr("linewatch.line.commands.Timer", clock)
    return clock


def test_a_product_that_is_not_ready_in_time_is_told_and_never_used(clock: Clock) -> None:
    """Code 7 is sent once, while the product is still being prepared; the station ends in FAULT."""
    rig = Rig()
    answered: list[object] = []

    def strike() -> None:
        clock.strike()
        answered.extend(reply["code"] for reply in rig.replies)

    rig.changeover.meanwhile = strike

    code, reason = rig.ask("product", rid=1, product="bottle")

    assert (code, answered, rig.mode) == (ReplyCode.TIMEOUT, [ReplyCode.TIMEOUT], State.FAULT)
    assert reason == str(PrepareTimeout("bottle", CHANGE_S))
    assert clock.wait_s == CHANGE_S


def test_a_product_that_fails_after_its_time_is_answered_once(clock: Clock) -> None:
    """After code 7 there is no second reply."""
    rig = Rig()
    rig.changeover.meanwhile = lambda: clock.strike()  # noqa: PLW0108 - it is set later
    rig.changeover.trouble = SelfTestFailed("golden sample scores 9 instead of 1; train again")

    assert rig.ask("product", rid=1, product="bottle")[0] == ReplyCode.TIMEOUT
    assert rig.mode is State.FAULT


def test_the_clock_has_no_word_once_a_product_was_ready_in_time(clock: Clock) -> None:
    """No 7 for a station that judges."""
    rig = Rig()
    real = rig.station.intend

    def intend(mode: State, reason: str = "") -> None:
        clock.strike()  # Between coming into use and the answer.
        real(mode, reason)

    rig.station.intend = intend  # type: ignore[method-assign]  # to be struck in between

    assert rig.ask("product", rid=1, product="bottle")[0] == ReplyCode.DONE
    assert rig.mode is State.READY


def test_without_any_recipe_the_reply_says_so() -> None:
    """An empty list of known products reads as one."""
    rig = Rig()
    rig.recipes = dict

    assert rig.ask("product", rid=1, index=3)[1] == "product 3 has no recipe; known are none"


def test_a_failed_self_test_is_told_and_leaves_fault() -> None:
    """6, with the reason; the old product is not back by itself."""
    rig = Rig()
    rig.changeover.trouble = SelfTestFailed("golden sample scores 9 instead of 1; train again")

    assert rig.ask("product", rid=1, product="bottle") == (
        ReplyCode.SELFTEST_FAILED,
        "golden sample scores 9 instead of 1; train again",
    )
    assert rig.mode is State.FAULT


def test_a_broken_recipe_file_is_an_answer_and_never_kills_the_caller() -> None:
    """A typo in a recipe file does not end the network thread; the product is unknown, so FAULT."""
    rig = Rig()

    def broken() -> Mapping[str, int]:
        raise RecipeError("recipe 'x.toml' is not valid TOML")

    rig.recipes = broken
    assert rig.ask("product", rid=1, product="bottle") == (
        ReplyCode.UNKNOWN,
        "recipe 'x.toml' is not valid TOML",
    )
    assert rig.mode is State.FAULT


def test_an_earlier_command_does_not_make_a_station_ready_that_awaits_a_changeover() -> None:
    """A self-test that was asked for first ends, and still no part passes before the new product."""
    rig = Rig()
    seen: list[State] = []
    rig.say("selftest", rid=1)
    rig.say("product", rid=2, product="bottle")
    rig.station.intend(State.READY)  # What a self-test does at its end.
    seen.append(rig.mode)
    rig.serve()

    assert seen == [State.CHANGEOVER]
    assert rig.mode is State.READY


def test_a_recipe_that_breaks_while_its_change_waits_is_answered_once() -> None:
    """Recipes are read when it is its turn, not in the network's thread; it never ends in CHANGEOVER."""
    rig = Rig()
    rig.say("product", rid=1, product="bottle")

    def broken() -> Mapping[str, int]:
        raise RecipeError("gone")

    rig.recipes = broken
    rig.serve()

    assert [(reply["code"], reply["reason"]) for reply in rig.replies] == [(5, "gone")]
    assert rig.mode is State.FAULT


def test_a_change_is_announced_before_it_can_be_over() -> None:
    """A changeover that fails at once must not be followed by its own announcement."""
    rig = Rig()
    waiting: list[int] = []
    real = rig.station.await_change

    def spy(product: str) -> None:
        waiting.append(rig.commands.waiting)
        real(product)

    rig.station.await_change = spy  # type: ignore[method-assign]  # to see the order
    rig.say("product", rid=1, product="bottle")

    assert waiting == [0]


def test_a_trigger_is_accepted_at_once() -> None:
    """0 means: the exposure is asked for, with the part's name and the request's id."""
    rig = Rig()
    rig.say("trigger", rid=17, part="A1")

    assert [reply["code"] for reply in rig.replies] == [0]
    trigger = rig.triggers.take(0)
    assert trigger is not None and (trigger.rid, trigger.part) == (17, "A1")


def test_a_second_trigger_before_the_first_exposure_is_busy() -> None:
    """2; both are counted, the refused one is an event that names its part."""
    rig = Rig()
    rig.say("trigger", rid=1, part="A1")
    rig.say("trigger", rid=2, part="A2")

    assert [(reply["rid"], reply["code"]) for reply in rig.replies] == [(1, 0), (2, 2)]
    assert rig.events() == [("trigger_missed", 2), ("command_refused", 2)]
    assert rig.station.events[0]["part"] == "A2"
    value = rig.metrics.registry.get_sample_value
    assert value("linewatch_triggers_total", {"station": "test"}) == 2
    assert value("linewatch_triggers_missed_total", {"station": "test"}) == 1


@pytest.mark.parametrize(
    "mode", [State.STARTING, State.SELFTEST, State.CHANGEOVER, State.PAUSED, State.FAULT, State.STOPPED]
)
def test_a_trigger_needs_a_ready_station(mode: State) -> None:
    """1, and no exposure."""
    rig = Rig()
    rig.station.intend(mode)

    rig.say("trigger", rid=1)

    assert [reply["code"] for reply in rig.replies] == [1]
    assert len(rig.triggers) == 0


def test_a_free_running_station_takes_no_triggers() -> None:
    """1, with the setting to change."""
    rig = Rig(triggered=False)
    rig.say("trigger", rid=1)

    assert [(reply["code"], reply["reason"]) for reply in rig.replies] == [
        (1, 'this station takes no triggers; set trigger.mode = "mqtt"')
    ]


def test_a_degraded_station_or_a_lost_camera_refuses_no_trigger() -> None:
    """The part gets its verdict, if only ERROR 40, instead of silence."""
    rig = Rig()
    rig.station.impaired("journal", "full")
    rig.station.camera_lost("unplugged")

    rig.say("trigger", rid=1)

    assert [reply["code"] for reply in rig.replies] == [0]


@pytest.mark.parametrize(
    ("exp_ms", "code"),
    [(0, 0), (500, 0), (1_000_000_000_000, ReplyCode.EXPIRED), (9_000_000_000_000, 0)],
)
def test_a_trigger_may_expire(exp_ms: int, code: int) -> None:
    """3 for a point of time that is over; a span from arrival or a point to come is accepted."""
    rig = Rig()
    rig.say("trigger", rid=1, exp_ms=exp_ms)

    assert [reply["code"] for reply in rig.replies] == [code]


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("selftest", {}),
        ("selftest", {"rid": 0}),
        ("selftest", {"rid": "17"}),
        ("product", {"rid": 1}),
        ("product", {"rid": 1, "product": "demo", "index": 1}),
        ("dance", {"rid": 1}),
        ("trigger", {"rid": 1, "part": True}),
    ],
)
def test_what_cannot_be_understood_is_a_bad_argument(name: str, facts: dict[str, Any]) -> None:
    """4, with one sentence; nothing is done."""
    rig = Rig()
    code, reason = rig.ask(name, **facts)

    assert code == ReplyCode.BAD_ARGUMENT
    assert reason
    assert rig.changeover.done == []


def test_a_retained_command_is_refused() -> None:
    """It would come again with every reconnect."""
    rig = Rig()
    code, reason = rig.ask("product", rid=1, product="bottle", retained=True)

    assert (code, rig.changeover.done) == (ReplyCode.BAD_ARGUMENT, [])
    assert "retain" in str(reason)


def test_a_refused_request_may_come_again_mended() -> None:
    """What was refused as malformed or retained was not done, so its id is not used up."""
    rig = Rig()
    rig.say("pause", rid=1, retained=True)
    rig.say("pause", rid=1)
    rig.serve()

    assert [reply["code"] for reply in rig.replies] == [ReplyCode.BAD_ARGUMENT, ReplyCode.DONE]
    assert rig.mode is State.PAUSED


def test_a_name_that_no_topic_should_carry_is_not_answered() -> None:
    """Its answer might be more than the broker takes, which then ends the verdicts' connection."""
    rig = Rig()
    rig.say("A" * 1900, rid=1)

    assert (rig.replies, rig.events()) == ([], [])


def test_a_malformed_trigger_is_a_missed_one() -> None:
    """A part goes by without a verdict: it counts as received and as missed."""
    rig = Rig()
    rig.say("trigger", rid=1, part=True)

    assert ("trigger_missed", ReplyCode.BAD_ARGUMENT) in rig.events()
    values = [
        rig.metrics.registry.get_sample_value(f"linewatch_triggers{name}_total", {"station": "test"})
        for name in ("", "_missed")
    ]
    assert values == [1, 1]


def test_a_repeated_request_is_done_once_and_answered_again() -> None:
    """A PLC that missed the reply asks again with the same id and gets the very same words."""
    rig = Rig()
    rig.say("trigger", rid=17, part="A1")
    rig.now_s = REPLIES_S - 1
    rig.say("trigger", rid=17, part="A1")

    assert len(rig.replies) == 2
    assert rig.replies[0] == rig.replies[1]
    assert rig.triggers.take(0) is not None
    assert rig.triggers.take(0) is None


def test_ids_may_be_used_again_after_a_minute_and_for_another_command() -> None:
    """65,535 ids come round; and a selftest 17 is not a trigger 17."""
    rig = Rig()
    rig.say("trigger", rid=17)
    rig.triggers.take(0)
    rig.say("selftest", rid=17)
    rig.now_s = REPLIES_S + 1
    rig.say("trigger", rid=17)
    rig.serve()

    assert rig.triggers.take(0) is not None
    assert rig.changeover.done == ["test"]


def test_a_request_repeated_while_it_is_being_done_is_answered_once() -> None:
    """The impatient repetition does not start a second changeover."""
    rig = Rig()
    rig.say("product", rid=5, product="bottle")
    rig.say("product", rid=5, product="bottle")
    assert rig.replies == []

    rig.serve()

    assert [reply["code"] for reply in rig.replies] == [0]
    assert rig.changeover.done == ["change bottle"]


def test_requests_without_an_id_are_never_taken_for_repeated() -> None:
    """Two malformed messages get two answers."""
    rig = Rig()
    for _ in range(2):
        rig.say("selftest")

    assert [(reply["rid"], reply["code"]) for reply in rig.replies] == [(0, 4), (0, 4)]


def test_stored_replies_are_bounded_in_number_and_time() -> None:
    """Neither a flood nor a year of commands fills the memory."""
    rig = Rig()
    for rid in range(1, REPLIES_MAX + 100):
        rig.commands.receive(Incoming("t/cmd/trigger", b'{"rid":%d}' % rid), lambda _: None)
    assert len(rig.commands._replies) == REPLIES_MAX

    rig.now_s = REPLIES_S + 1
    rig.say("trigger", rid=1)
    assert len(rig.commands._replies) == 1


def test_too_many_requests_at_once_are_refused() -> None:
    """2; those that wait are done in order, and a refused product changes nothing."""
    rig = Rig()
    for rid in range(1, 5):
        rig.say("selftest", rid=rid)
    rig.say("product", rid=5, product="bottle")

    assert [(reply["rid"], reply["code"]) for reply in rig.replies] == [(5, 2)]
    assert rig.mode is State.READY

    rig.serve()
    assert [reply["rid"] for reply in rig.replies] == [5, 1, 2, 3, 4]
    assert rig.changeover.done == ["test"] * 4


def test_after_the_end_requests_are_refused() -> None:
    """A page that still asks while the daemon stops gets an answer and does not hang."""
    rig = Rig()
    rig.station.intend(State.STOPPED, "stopped")
    rig.serve()
    answers: list[Answer] = []
    rig.commands.request(Command("product", 0, product="bottle"), answers.append)

    assert [answer.code for answer in answers] == [ReplyCode.BUSY]
    assert rig.mode is State.STOPPED


def test_pause_and_resume() -> None:
    """A paused station gives no PASS until `resume`; the reply comes once it is so."""
    rig = Rig()
    for rid, name in enumerate(["pause", "pause", "resume", "resume"], 1):
        rig.say(name, rid=rid)
    rig.serve()

    assert rig.modes == [State.PAUSED, State.PAUSED, State.READY, State.READY]
    assert [reply["code"] for reply in rig.replies] == [0, 1, 0, 1]
    assert "only a ready station can be paused; it is PAUSED" in str(rig.replies[1]["reason"])
    assert "only a paused station can resume; it is READY" in str(rig.replies[3]["reason"])


@pytest.mark.parametrize(("mode", "tested"), [(State.FAULT, ["test"]), (State.READY, []), (State.PAUSED, [])])
def test_reset_leads_out_of_fault_by_a_self_test(mode: State, tested: list[str]) -> None:
    """Nothing leaves FAULT unproven; where there is no fault there is nothing to do."""
    rig = Rig()
    rig.station.intend(mode)

    assert rig.ask("reset", rid=1)[0] == 0
    assert rig.changeover.done == tested


def test_rebirth_makes_the_station_say_everything_again() -> None:
    """The state goes out at once although nothing changed."""
    rig = Rig()
    before = rig.station.snapshot().rebirths
    rig.station.changed.clear()

    assert rig.ask("rebirth", rid=1)[0] == 0
    assert rig.station.snapshot().rebirths == before + 1
    assert rig.station.changed.clear()


def test_reload_proves_the_product_in_use_again() -> None:
    """SIGHUP reads recipe and model from disk; there is no reply."""
    rig = Rig()
    rig.commands.reload()
    rig.serve()

    assert rig.changeover.done == ["reload"]


def test_reset_forgives_pictures_that_nobody_can_make_better() -> None:
    """A PLC that triggers only while ready would otherwise never get a fit picture again."""
    rig = Rig()
    for _ in range(2):
        rig.station.image_examined("black")
    rig.station.check_images()  # Too early by 1 s.
    rig.ask("reset", rid=1)
    rig.station.image_examined("black")

    assert rig.station.snapshot().image_trouble == ""
    assert rig.station.snapshot().state is State.READY
