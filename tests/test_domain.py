"""Who may pass, as one table; and the names that verdicts are known by."""

from dataclasses import replace

import numpy as np
import pytest

from linewatch.domain import (
    NOT_JUDGING,
    PASSED,
    Defect,
    Exposure,
    Inspection,
    Judgement,
    Reason,
    Result,
    Scored,
    Standing,
    admit,
    verdict_of,
    view_name,
)
from tests.fakes import frame, verdict

MS = 1_000_000
EXPOSED = 10_000 * MS
BOTTLE, CUP = ("bottle", "7f3a91c2"), ("cup", "0badcafe")

IN_TIME = Exposure(
    EXPOSED,
    leaves_ns=EXPOSED + 50 * MS,
    judged_by=frozenset({BOTTLE}),
    age_ms_max=500,
    deadline_ns=200 * MS,
)
NOW = EXPOSED + 20 * MS
JUDGES = Standing(*BOTTLE, judging_since_ns=EXPOSED - 1)

FAILED = Judgement(Result.FAIL, Reason.ABOVE_THRESHOLD)
UNSURE = Judgement(Result.UNSURE, Reason.NEAR_THRESHOLD)
LOST = Judgement(Result.ERROR, Reason.CAMERA_LOST)

KEPT = Reason.NONE
NO_IMAGE = replace(IN_TIME, fault=Reason.QUEUE_FULL)
GONE = replace(IN_TIME, leaves_ns=EXPOSED - 1)
TWO_MODELS = replace(IN_TIME, judged_by=frozenset({BOTTLE, (BOTTLE[0], CUP[1])}))
TWO_PRODUCTS = replace(IN_TIME, judged_by=frozenset({BOTTLE, (CUP[0], BOTTLE[1])}))
BY_CUP = replace(IN_TIME, judged_by=frozenset({CUP}))
PATIENT = replace(IN_TIME, deadline_ns=None)
UNLIMITED = Exposure(EXPOSED)

PASS, FAIL, UNSURE_, ERROR = ((one,) for one in (PASSED, FAILED, UNSURE, LOST))
NO_ERROR = (PASSED, FAILED, UNSURE)
ALL = (*NO_ERROR, LOST)


@pytest.mark.parametrize(
    ("given", "exposure", "now_ns", "station", "reason"),
    [
        # In time, from a station that judges.
        (ALL, IN_TIME, NOW, JUDGES, KEPT),
        (ALL, UNLIMITED, NOW, None, KEPT),
        (ALL, UNLIMITED, EXPOSED + 10**15, None, KEPT),
        # No image.
        (NO_ERROR, NO_IMAGE, NOW, JUDGES, Reason.QUEUE_FULL),
        (NO_ERROR, NO_IMAGE, EXPOSED + 9000 * MS, NOT_JUDGING, Reason.QUEUE_FULL),
        (ERROR, NO_IMAGE, NOW, JUDGES, KEPT),
        # Captured after the part may have left.
        (NO_ERROR, GONE, NOW, JUDGES, Reason.LATE),
        (NO_ERROR, replace(GONE, leaves_ns=EXPOSED), NOW, JUDGES, KEPT),
        (PASS, GONE, NOW, NOT_JUDGING, Reason.LATE),
        (ERROR, GONE, NOW, JUDGES, KEPT),
        # The station does not judge, or has begun since the exposure.
        (PASS, IN_TIME, NOW, NOT_JUDGING, Reason.NOT_READY),
        (PASS, IN_TIME, NOW, replace(JUDGES, judging_since_ns=None), Reason.NOT_READY),
        (PASS, IN_TIME, NOW, replace(JUDGES, judging_since_ns=EXPOSED + 1), Reason.NOT_READY),
        (PASS, IN_TIME, NOW, replace(JUDGES, judging_since_ns=EXPOSED), KEPT),
        ((FAILED, UNSURE, LOST), IN_TIME, NOW, NOT_JUDGING, KEPT),
        # Another product or model judges now than judged the part.
        (PASS, BY_CUP, NOW, JUDGES, Reason.NOT_READY),
        (PASS, IN_TIME, NOW, replace(JUDGES, product="cup"), Reason.NOT_READY),
        (PASS, IN_TIME, NOW, replace(JUDGES, model="0badcafe"), Reason.NOT_READY),
        ((FAILED, UNSURE, LOST), BY_CUP, NOW, JUDGES, KEPT),
        (PASS, replace(BY_CUP, judged_by=frozenset()), NOW, JUDGES, KEPT),
        # Two views of a part were judged by two models or products.
        (ALL, TWO_MODELS, NOW, None, Reason.NOT_READY),
        (ALL, TWO_PRODUCTS, NOW, JUDGES, Reason.NOT_READY),
        # Too old when scoring begins: whole milliseconds, as in the verdict's `age_ms`.
        (ALL, PATIENT, EXPOSED + 500 * MS, JUDGES, KEPT),
        (ALL, PATIENT, EXPOSED + 501 * MS - 1, JUDGES, KEPT),
        (NO_ERROR, PATIENT, EXPOSED + 501 * MS, JUDGES, Reason.STALE),
        (ERROR, PATIENT, EXPOSED + 501 * MS, JUDGES, KEPT),
        (PASS, PATIENT, EXPOSED + 501 * MS, NOT_JUDGING, Reason.NOT_READY),
        # Begun too late to end in time.
        (NO_ERROR, replace(IN_TIME, start_within_ns=19.9 * MS), NOW, JUDGES, Reason.QUEUE_FULL),
        (ALL, replace(IN_TIME, start_within_ns=20.0 * MS), NOW, JUDGES, KEPT),
        (PASS, replace(IN_TIME, start_within_ns=0.0), EXPOSED + 501 * MS, JUDGES, Reason.STALE),
        (PASS, replace(IN_TIME, start_within_ns=0.0), NOW, NOT_JUDGING, Reason.NOT_READY),
        # Past the deadline: a PASS that the station does not stand for is NOT_READY, not LATE.
        (ALL, IN_TIME, EXPOSED + 200 * MS, JUDGES, KEPT),
        (NO_ERROR, IN_TIME, EXPOSED + 200 * MS + 1, JUDGES, Reason.LATE),
        (ERROR, IN_TIME, EXPOSED + 200 * MS + 1, JUDGES, KEPT),
        (PASS, IN_TIME, EXPOSED + 200 * MS + 1, NOT_JUDGING, Reason.NOT_READY),
        ((FAILED, UNSURE), IN_TIME, EXPOSED + 200 * MS + 1, NOT_JUDGING, Reason.LATE),
    ],
)
def test_a_result_stands_or_becomes_an_error_with_its_reason(
    given: tuple[Judgement, ...], exposure: Exposure, now_ns: int, station: Standing | None, reason: Reason
) -> None:
    """Every reason that takes a PASS back, with its boundary, and the results that it leaves alone."""
    for judged in given:
        expected = judged if reason is KEPT else Judgement(Result.ERROR, reason)
        assert admit(judged, exposure, now_ns, station) == expected


def test_nothing_becomes_a_pass() -> None:
    """Whatever the facts, a part that is rejected once stays rejected."""
    for judged in (FAILED, UNSURE, LOST):
        for exposure in (IN_TIME, NO_IMAGE, GONE, TWO_MODELS, BY_CUP, PATIENT, UNLIMITED):
            for now_ns in (NOW, EXPOSED + 300 * MS, EXPOSED + 9000 * MS):
                for station in (None, NOT_JUDGING, JUDGES):
                    assert admit(judged, exposure, now_ns, station).result is not Result.PASS


def test_what_stands_is_returned_as_it_is() -> None:
    """Callers may compare by identity; what is replaced keeps everything but result and reason."""
    inspected = Inspection(frame(seq=7), "bottle", 3, "7f3a91c2", 2.0, Result.PASS, Reason.NONE, age_ms=3)
    for judged in (PASSED, verdict(5), inspected):
        assert admit(judged, IN_TIME, NOW, JUDGES) is judged  # type: ignore[type-var]  # one of three

    refused = admit(inspected, IN_TIME, NOW, NOT_JUDGING)
    assert refused == replace(inspected, result=Result.ERROR, reason=Reason.NOT_READY)


def test_a_frame_without_an_image_has_a_fault() -> None:
    """An exposure without an image must not pass, also if no fault was set."""
    assert frame().image_fault is Reason.NONE
    assert frame().without_image(Reason.CAMERA_LOST).image_fault is Reason.CAMERA_LOST
    assert frame(image=None).image_fault is Reason.INTERNAL


def test_a_verdict_takes_everything_from_its_inspection() -> None:
    """Score, largest defect and latency are those of the inspection at that moment."""
    shown = frame(
        seq=7, trigger=17, part="A7", captured_ns=EXPOSED, captured_ms=1_790_000_000_123, simulated=True
    )
    defects = tuple(Defect((x, 2, 3, 4), 12, (x, 3), 2.5) for x in (1, 5))
    scored = Scored(2.5, np.zeros((4, 4), np.float32), np.eye(2, 3), defects)
    inspection = Inspection(
        shown, "bottle", 3, "7f3a91c2", 2.0, Result.FAIL, Reason.ABOVE_THRESHOLD, age_ms=3, scored=scored
    )

    given = verdict_of(inspection, station="station1", boot=41, now_ns=EXPOSED + 25 * MS - 1)

    assert given == verdict(
        7, Result.FAIL, trigger=17, part="A7", raw=2.5, captured_ms=1_790_000_000_123, age_ms=3,
        latency_ms=24, simulated=True, defects=2, box=(1, 2, 3, 4),
    )  # fmt: skip
    assert verdict_of(replace(inspection, scored=None), station="s", boot=1, now_ns=EXPOSED).raw == 0.0


def test_evidence_is_named_by_day_result_boot_and_seq() -> None:
    """The day is UTC; further views stand beside the first."""
    given = verdict(1023, Result.FAIL, captured_ms=1_790_000_000_123)

    assert given.evidence_stem == "2026-09-21/fail/41-1023"
    assert view_name("2026-09-21/fail/41-1023.png", 2) == "2026-09-21/fail/41-1023.view2.png"
