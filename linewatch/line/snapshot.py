"""The station at one moment, and how one fact leads to the next: pure values, no lock and no clock."""

import math
import time
from dataclasses import dataclass, field, replace
from typing import Any

from linewatch.domain import Result, Standing, State

NOT_OPENED = "the source is not opened yet"
UNFIT_S = 1.0  # Without a fit image for this long, the camera is in trouble and not only one part.
PAUSED_REASON = "paused by command"


@dataclass(frozen=True, slots=True)
class UnfitImages:
    """Images in a row that could not be judged."""

    since_s: float  # Monotonic.
    count: int
    fault: str  # Of the newest.


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The station at one moment. Troubles are sentences for people, "" when there is none."""

    station: str
    boot: int
    product: str
    product_index: int = 0
    model: str = ""
    model_digest: str = ""  # SHA-256 of the version's manifest.
    mode: State = State.STARTING  # What was intended: the state without troubles.
    mode_reason: str = ""
    judging_since_s: float = 0.0  # Monotonic: no part exposed before may pass.
    paused: bool = False  # Outlives changeovers and self-tests.
    awaited_changes: int = 0  # Changeovers that were requested and have not begun.
    camera_trouble: str = NOT_OPENED
    image_trouble: str = ""  # Frozen, dark, over-exposed or blurred, for UNFIT_S or longer.
    unfit: UnfitImages | None = None  # None while the last image was fit.
    impairments: dict[str, str] = field(default_factory=dict)  # "journal", "recipe", ...: reason.
    selftest_passed: bool = False
    last_seq: int = 0
    last_result: Result | None = None
    started_s: float = 0.0  # Monotonic.
    rebirths: int = 0  # Requests to publish everything again.

    @property
    def standing(self) -> Standing:
        """What a part must have been judged by, and exposed after, to pass now."""
        since_ns = math.ceil(1e9 * self.judging_since_s) if self.mode is State.READY else None
        return Standing(self.product, self.model, since_ns)

    @property
    def state(self) -> State:
        """The state that PLC, page and metrics show."""
        if self.mode is not State.READY:
            return self.mode
        if self.camera_trouble:
            return State.STARTING if self.camera_trouble == NOT_OPENED else State.FAULT
        if (
            self.image_trouble and self.unfit and self.unfit.count > 1
        ):  # A single one may be the part's fault.
            return State.FAULT
        return State.DEGRADED if self.impairments or self.image_trouble else State.READY

    @property
    def reasons(self) -> list[str]:
        """Why the state is not READY, most serious first; [] when it is."""
        # Without its broker the history has no other trouble.
        impaired = [
            why
            for part, why in self.impairments.items()
            if part != "history" or "broker" not in self.impairments
        ]
        troubles = [self.mode_reason, self.camera_trouble, self.image_trouble, *impaired]
        return [trouble for trouble in troubles if trouble] if self.state is not State.READY else []

    @property
    def uptime_s(self) -> int:
        """Whole seconds since start."""
        return int(time.monotonic() - self.started_s)


@dataclass(frozen=True, slots=True)
class ModeIntended:
    """A mode to enter; READY means ready unless paused or in trouble."""

    mode: State
    reason: str = ""


@dataclass(frozen=True, slots=True)
class PauseRequested:
    """No part passes until the pause ends, whatever is changed or tested meanwhile."""


@dataclass(frozen=True, slots=True)
class PauseEnded:
    """The pause is over."""


@dataclass(frozen=True, slots=True)
class ChangeRequested:
    """A changeover waits for its turn; what runs before it cannot lead back to READY."""

    product: str


@dataclass(frozen=True, slots=True)
class ChangeBegun:
    """A requested changeover has its turn and sets the mode from now on."""


@dataclass(frozen=True, slots=True)
class ProductUsed:
    """Another product or model judges from now on."""

    product: str
    index: int
    model: str
    digest: str = ""


ChangesStanding = ModeIntended | PauseRequested | PauseEnded | ChangeRequested | ChangeBegun | ProductUsed
"""Facts that change whether or with what the station judges; they wait while a verdict is published."""


@dataclass(frozen=True, slots=True)
class SelfTestEnded:
    """The model did or did not pass its self-test."""

    passed: bool


@dataclass(frozen=True, slots=True)
class CameraSilent:
    """The source delivers no frames."""

    why: str


@dataclass(frozen=True, slots=True)
class CameraDelivers:
    """A frame came from the source."""


@dataclass(frozen=True, slots=True)
class ImageExamined:
    """One image passed through the quality gate; `fault` is "" if it can be judged."""

    fault: str


@dataclass(frozen=True, slots=True)
class ImagesChecked:
    """Time for unfit images to count as trouble."""


@dataclass(frozen=True, slots=True)
class ImagesForgiven:
    """Unfit images before this moment no longer count."""


@dataclass(frozen=True, slots=True)
class Impaired:
    """Trouble that does not stop the line, with "journal", "evidence", "broker", "recipe", ..."""

    part: str
    why: str


@dataclass(frozen=True, slots=True)
class Restored:
    """The end of an impairment."""

    part: str


@dataclass(frozen=True, slots=True)
class VerdictPublished:
    """The last verdict."""

    seq: int
    result: Result


@dataclass(frozen=True, slots=True)
class RebirthRequested:
    """A subscriber asked for everything to be published again."""


AboutImages = ImageExamined | ImagesChecked | ImagesForgiven

Fact = (
    ChangesStanding
    | AboutImages
    | SelfTestEnded
    | CameraSilent
    | CameraDelivers
    | Impaired
    | Restored
    | VerdictPublished
    | RebirthRequested
)


def next_snapshot(now: Snapshot, fact: Fact, at_s: float) -> Snapshot:
    """Return the station after one fact at `at_s` (monotonic seconds); `now` itself if nothing changes."""
    if isinstance(fact, ChangesStanding):
        return _next_standing(now, fact, at_s)
    if isinstance(fact, AboutImages):
        return _next_images(now, fact, at_s)
    changes: dict[str, Any]
    match fact:
        case SelfTestEnded(passed):
            changes = {"selftest_passed": passed}
        case CameraSilent(why):
            changes = {"camera_trouble": why}
        case CameraDelivers():
            changes = {"camera_trouble": ""}
        case Impaired(part, why):
            same = now.impairments.get(part) == why
            changes = {} if same else {"impairments": {**now.impairments, part: why}}
        case Restored(part):
            others = {other: why for other, why in now.impairments.items() if other != part}
            changes = {"impairments": others} if part in now.impairments else {}
        case VerdictPublished(seq, result):
            changes = {"last_seq": seq, "last_result": result}
        case RebirthRequested():
            changes = {"rebirths": now.rebirths + 1}
    return replace(now, **changes) if changes else now


def _next_standing(now: Snapshot, fact: ChangesStanding, at_s: float) -> Snapshot:
    match fact:
        case ModeIntended(mode, reason):
            after = _enter(now, mode, reason, at_s)
        case PauseRequested():
            after = _enter(replace(now, paused=True), State.READY, "", at_s)
        case PauseEnded():
            after = _enter(replace(now, paused=False), State.READY, "", at_s)
        case ChangeRequested(product):
            after = replace(now, awaited_changes=now.awaited_changes + 1)
            if now.mode is not State.STOPPED:
                after = replace(after, mode=State.CHANGEOVER, mode_reason=f"changing to product {product}")
        case ChangeBegun():
            after = replace(now, awaited_changes=now.awaited_changes - 1)
        case ProductUsed(product, index, model, digest):
            after = replace(now, product=product, product_index=index, model=model, model_digest=digest)
            after = _forgive_images(after)  # They were measured against the product before.
    return after


def _enter(now: Snapshot, mode: State, reason: str, at_s: float) -> Snapshot:
    """Enter a mode. STOPPED is final, and while a changeover is awaited no other mode is entered."""
    if now.mode is State.STOPPED or (now.awaited_changes and mode is not State.STOPPED):
        return now
    if now.paused and mode is State.READY:
        mode, reason = State.PAUSED, PAUSED_REASON
    begins = mode is State.READY and now.mode is not State.READY
    since_s = at_s if begins else now.judging_since_s
    return replace(now, mode=mode, mode_reason=reason, judging_since_s=since_s)


def _next_images(now: Snapshot, fact: AboutImages, at_s: float) -> Snapshot:
    unfit = now.unfit
    match fact:
        case ImageExamined(fault) if fault:
            since_s, count = (unfit.since_s, unfit.count) if unfit else (at_s, 0)
            return replace(now, unfit=UnfitImages(since_s, count + 1, fault))
        case ImagesChecked():
            if unfit is None or now.image_trouble or at_s - unfit.since_s < UNFIT_S:
                return now
            return replace(now, image_trouble=unfit.fault)
        case _:
            return _forgive_images(now)


def _forgive_images(now: Snapshot) -> Snapshot:
    return replace(now, image_trouble="", unfit=None) if now.unfit else now
