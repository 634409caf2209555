"""What clients see at one moment: writes the station's values to the nodes and tells events."""

import logging
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from asyncua import ua
from asyncua.server.internal_server import InternalServer

from linewatch.domain import Result
from linewatch.mqtt.live import Announcement
from linewatch.plc.newest import Block, NewestVerdict, Shown
from linewatch.plc.opcua import address_space as at
from linewatch.plc.opcua import events, states
from linewatch.plc.opcua.results import Results, utc
from linewatch.plc.opcua.structures import new, station, vision

log = logging.getLogger(__name__)

RECENT_MAX = 200
NOWHEN = datetime(1601, 1, 1, tzinfo=UTC)  # How OPC UA writes no time.
READY_BIT, BEAT_SHIFT = 1 << 1, 12  # In the status word.
_MACHINE, _AUTOMATIC = "VisionStateMachine", "VisionStateMachine.AutomaticModeStateMachine"
_NOT_ACTIVE = ua.DataValue(StatusCode=ua.StatusCode(ua.StatusCodes.BadStateNotActive))


class PassValue(ua.DataValue):
    """A value that tells a PASS, with the number of its block: not sent once that was withdrawn."""

    number: int = 0

    def __deepcopy__(self, memo: object) -> "PassValue":
        """Return itself: asyncua copies a value for each subscription, but this one never changes."""
        return self


class View:
    """Brings the nodes up to date; everything runs in the server's thread.

    Values are written when the station is asked, that is before every read and every publication, so what a
    client gets is of that moment, and all values in one response are of the same.
    """

    def __init__(
        self,
        server: InternalServer,
        newest: NewestVerdict,
        results: Results,
        source: str,
        *,
        pass_s: float,
        triggered: bool,
    ) -> None:
        self._server = server
        self._newest = newest
        self._results = results
        self._source = source
        self._pass_s = pass_s
        self._triggered = triggered
        self._written: dict[str, Any] = {}
        self._recent: dict[int, Block] = {}  # By number; more than a client may have queued.
        self._shown: tuple[int, int] = (0, 0)  # Number and code of the verdict that the nodes show.
        self._machine = self._product = ""

    async def tell(self, blocks: Iterable[Block]) -> None:
        """Keep new verdicts as results and tell each to those who subscribed to ResultReady."""
        for block in blocks:
            verdict = block.verdict
            self._results.add(verdict)
            self._recent[block.number] = block
            if len(self._recent) > RECENT_MAX:
                del self._recent[next(iter(self._recent))]
            is_pass = verdict.result is Result.PASS
            subscriptions = self._server.subscription_service.subscriptions
            if not subscriptions or (is_pass and not self._newest.stands(block)):
                continue  # No client waits for it, or it was withdrawn before it could be sent.
            result = self._results.structure(verdict, history=False)
            message = f"part {verdict.boot}-{verdict.seq}: {verdict.result.value}"
            number = block.number if is_pass else 0
            await self._trigger(events.result_ready(result, message, self._source, number))

    async def start_job(self, job: str) -> None:
        """Tell that a trigger was taken."""
        await self._trigger(events.job_started(new("JobIdDataType", Id=job), self._source))

    def stands(self, number: int) -> bool:
        """Whether a queued PASS may still be sent."""
        block = self._recent.get(number)
        return block is not None and self._newest.stands(block)

    async def follow(self) -> None:
        """Notice a PASS that does not stand any more; write what changed if a subscription waits for it."""
        if self._server.subscription_service.subscriptions:
            await self.update()
        else:
            self._newest.show()  # A read will write the rest.

    async def update(self) -> None:
        """Write what changed since the last time."""
        now, shown = self._newest.show()
        await self._write_live(now)
        await self._write_machine(now)
        key = (shown.number, shown.code) if shown else (0, 0)
        if key != self._shown or not self._written.get("Verdict.ValidUntil"):
            self._shown = key
            await self._write_verdict(shown)

    async def _write_live(self, now: Announcement) -> None:
        facts, word = now.facts, now.word
        for path, value in (
            ("Live.Word", word),
            ("Live.Heartbeat", word >> BEAT_SHIFT),
            ("Live.Ready", bool(word & READY_BIT)),
            ("Live.State", facts.state.value),
            ("Live.Reason", facts.reason),
            ("Live.Product", facts.product),
            ("Live.ProductIndex", facts.product_index),
            ("Live.Model", facts.model),
            ("Live.Boot", facts.boot),
            ("Live.Camera", facts.camera),
        ):
            if self._written.get(path) != value:
                await self._write(path, value, at.variant(path, value))
        model, product = facts.model, facts.product
        if self._written.get("ActiveConfiguration") != model:
            value = ua.Variant(configuration(model))
            await self._write("ActiveConfiguration", model, value)
        if product != self._product and facts.state.judging:
            before, self._product = self._product, product
            if before:
                await self._trigger(events.recipe_prepared(product, self._source))

    async def _write_machine(self, now: Announcement) -> None:
        state, word = now.facts.state, now.word
        machine = states.vision_state(state)
        automatic = states.automatic_state(state, word, triggered=self._triggered)
        system = states.system_state(state, word, triggered=self._triggered)
        description = (system, now.facts.state.value)
        if self._written.get("SystemState") != description:
            member = ua.SystemStateDataType(system)
            value = new("SystemStateDescriptionDataType", State=member, StateDescription=description[1])
            await self._write("SystemState", description, ua.Variant(value))
        for path, entered in ((_MACHINE, machine), (_AUTOMATIC, automatic)):
            if self._written.get(path, "") == entered:
                continue
            self._written[path] = entered
            for name, value in _state_values(path, entered).items():
                await self._server.write_attribute_value(station(name), value)
        if machine.name != self._machine:
            before, self._machine = self._machine, machine.name
            if before:
                await self._tell_change(before, machine.name, now.facts.reason)

    async def _tell_change(self, before: str, after: str, why: str) -> None:
        kinds = [at.STATE_CHANGED]
        if after == states.ERROR.name:
            kinds.append(at.ERROR_EVENT)
        elif before == states.ERROR.name:
            kinds.append(at.ERROR_RESOLVED)
        for kind in kinds:
            await self._trigger(events.state_changed(kind, before, after, why, self._source))

    async def _write_verdict(self, shown: Shown | None) -> None:
        number = shown.number if shown and shown.code == Result.PASS.code else 0
        for path, value in _verdict_values(shown, self._pass_s).items():
            if self._written.get(path) != value:
                await self._write(path, value, at.variant(path, value), number)
        if shown is not None:
            withdrawn = shown.code != shown.verdict.result.code
            result = self._results.structure(shown.verdict, history=False, withdrawn=withdrawn)
            await self._write("Latest", self._shown, ua.Variant(result), number)

    async def _write(self, path: str, value: object, variant: ua.Variant, number: int = 0) -> None:
        self._written[path] = value
        data = PassValue(variant, SourceTimestamp=datetime.now(UTC))
        data.number = number
        code = await self._server.aspace.write_attribute_value(station(path), ua.AttributeIds.Value, data)
        code.check()

    async def _trigger(self, event: events.StationEvent) -> None:
        """Tell an event to those who subscribed to the station's, and to the server's."""
        for emitter in (at.SYSTEM, at.SERVER):
            event.emitting_node = emitter
            await self._server.subscription_service.trigger_event(event)


def configuration(model: str) -> Any:
    """Return a model version as ConfigurationDataType."""
    identity = new("ConfigurationIdDataType", Id=model)
    return new("ConfigurationDataType", InternalId=identity, LastModified=NOWHEN)


def _state_values(path: str, state: states.MachineState | None) -> dict[str, ua.DataValue]:
    """Return the three values of a state machine; it has none while it is not active."""
    names = [f"{path}.CurrentState{suffix}" for suffix in ("", ".Id", ".Number")]
    if state is None:
        return dict.fromkeys(names, _NOT_ACTIVE)
    now = datetime.now(UTC)
    variants = (
        ua.Variant(ua.LocalizedText(state.name), ua.VariantType.LocalizedText),
        ua.Variant(vision(state.node), ua.VariantType.NodeId),
        ua.Variant(state.number, ua.VariantType.UInt32),
    )
    return {
        name: ua.DataValue(value, SourceTimestamp=now) for name, value in zip(names, variants, strict=True)
    }


def _verdict_values(shown: Shown | None, pass_s: float) -> dict[str, Any]:
    """Return the station's own variables of a verdict; a withdrawn PASS has the code 0 and no result."""
    if shown is None:
        empty: dict[str, Any] = {
            "": 0,
            "Result": "",
            "Product": "",
            "Model": "",
            "Part": "",
            "Region": "",
            "Box": [0] * 4,
        }
        empty |= {"Late": False, "Simulated": False, "CapturedTime": NOWHEN, "ValidUntil": NOWHEN}
        names = (path.partition(".")[2] for path in at.VARIABLES if path.startswith("Verdict."))
        return {f"Verdict.{name}": empty.get(name, 0) for name in names}
    verdict = shown.verdict
    is_pass = shown.code == Result.PASS.code
    left_s = pass_s - shown.age_ms / 1000
    values = {
        "Number": shown.number,
        "Boot": verdict.boot,
        "Seq": verdict.seq,
        "Code": shown.code,
        "Result": verdict.result.value if shown.code else "",
        "Reason": int(verdict.reason),
        "Product": verdict.product,
        "ProductIndex": verdict.product_index,
        "Model": verdict.model,
        "LatencyMs": verdict.latency_ms,
        "Score": max(0, verdict.score),
        "Box": list(verdict.box),
        "Defects": verdict.defects,
        "Region": verdict.region,
        "RegionIndex": verdict.region_index,
        "Trigger": verdict.trigger,
        "Part": verdict.part,
        "Late": verdict.late,
        "Simulated": verdict.simulated,
        "CapturedTime": utc(verdict.captured_ms),
        "ValidUntil": datetime.now(UTC) + timedelta(seconds=left_s) if is_pass else NOWHEN,
    }
    return {f"Verdict.{name}": value for name, value in values.items()}
