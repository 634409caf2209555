"""Limits that are chosen before a study: what parts can prove, and what a study says of them."""

from dataclasses import replace

import pytest

from linewatch.capability import study as studies
from linewatch.capability.apart import prospects_apart, result_apart, verify_apart
from linewatch.capability.certificate import render, verify
from linewatch.capability.figures import Outcome, measure
from linewatch.capability.intervals import misjudged_allowed, parts_to_prove, provable_rate
from linewatch.capability.prospect import prospects
from linewatch.capability.study import Limits, Study, StudyError
from linewatch.domain import Result
from tests.fakes import verdict


def judged(misses: int, alarms: int, limits: Limits | None) -> Study:
    """Return a complete study of 60 defects and 60 good parts, of which some are always misjudged."""
    parts = studies.numbered_parts(60, 60)
    study = studies.plan(parts, product="bottle", passes=2, by="part", people=["Ann"], seed=1, limits=limits)
    while (step := study.next_step) is not None:
        letter, number = step[1][0], int(step[1][1:])
        rejected = number > misses if letter == "D" else number <= alarms
        result = Result.FAIL if rejected else Result.PASS
        study = study.with_verdict(verdict(len(study.judged) + 1, result, part=step[1]))
    return study


@pytest.mark.parametrize(
    ("misses", "alarms", "outcome"),
    [
        (0, 0, Outcome.CAPABLE),
        (1, 0, Outcome.NOT_PROVEN),  # 1 of 60: below 7.7 % is proven, not below 5 %.
        (0, 3, Outcome.NOT_PROVEN),
        (9, 0, Outcome.NOT_CAPABLE),  # 9 of 60: above 7.9 % is proven.
        (0, 20, Outcome.NOT_CAPABLE),
    ],
)
def test_a_study_says_capable_not_capable_or_not_proven(misses: int, alarms: int, outcome: Outcome) -> None:
    """Each bound holds with 95 % confidence; what it proves neither way is said to be open."""
    study = judged(misses, alarms, Limits(0.05, 0.10))

    assert measure(study).outcome is outcome
    page = render(study)
    assert f"Verdict: {outcome}<" in page
    assert "below 5.0 %" in page and "below 10.0 %" in page
    assert verify(page) == study


def test_without_limits_there_is_no_verdict_and_the_page_is_as_before() -> None:
    """A result of an earlier version still verifies: nothing was added to its page or data."""
    study = judged(0, 0, None)

    assert measure(study).outcome is None
    page = render(study)
    assert "Verdict" not in page
    assert not {"limits", "skipped", "withdrawn", "reference"} & studies.document(study).keys()


def test_the_plan_says_what_parts_can_prove_before_they_are_presented() -> None:
    """59 parts prove 5 % with none of them misjudged, 93 with one: as the published tables of c = 0 plans."""
    defect, good = prospects(93, 30, Limits(0.05, 0.05))

    assert (defect.truth, defect.parts, defect.allowed, defect.possible) == ("defect", 30, -1, False)
    assert defect.if_none == pytest.approx(0.095, abs=1e-3)
    assert (good.allowed, good.possible) == (1, True)
    assert good.needed == (59, 93, 124, 153)


@pytest.mark.parametrize("parts", [5, 58, 59, 92, 93, 300])
def test_as_many_may_be_misjudged_as_still_prove_the_rate(parts: int) -> None:
    """The number agrees with how many parts it takes, from the other side."""
    allowed = misjudged_allowed(parts, 0.05)

    assert allowed < 0 or parts_to_prove(0.05, allowed) <= parts
    assert parts_to_prove(0.05, allowed + 1) > parts
    assert allowed < 0 or provable_rate(parts, allowed) < 0.05


@pytest.mark.parametrize("limits", [Limits(0.0, 0.1), Limits(0.1, 0.6), Limits(float("nan"), 0.1)])
def test_a_limit_that_proves_nothing_is_refused(limits: Limits) -> None:
    """0 cannot be proven, and half is no inspection."""
    with pytest.raises(StudyError, match="above 0 and at most 50%"):
        judged(0, 0, limits)


def test_a_process_beside_the_line_gives_the_same_answers() -> None:
    """The daemon never loads SciPy: plan, result and verification come from a process of their own."""
    study = judged(1, 2, Limits(0.05, 0.10))

    defect, good = prospects_apart(60, 60, study.limits)
    assert (defect["allowed"], good["allowed"]) == (0, 1)
    result = result_apart(study)
    assert result.html == render(study)
    assert (result.outcome, result.figures["defective"]) == ("not proven", 60)
    assert verify_apart(result.html) == (study, result.sha256)
    with pytest.raises(StudyError, match="was changed"):
        verify_apart(result.html.replace("Ann", "Bob"))
    with pytest.raises(StudyError, match="verdicts are missing"):
        result_apart(replace(study, judged=study.judged[:-1]))
