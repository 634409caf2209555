"""Studies at a station: what counts, what does not, and what a pause or restart leaves."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from linewatch.capability import study as files
from linewatch.capability.apart import is_installed
from linewatch.capability.study import StudyError
from linewatch.capability.walk import hold_station
from linewatch.domain import Reason, Result
from linewatch.errors import LinewatchError
from linewatch.settings import JournalSettings, Settings
from linewatch.web.study import study_backend
from linewatch.web.study.interface import NewStudy, Rates, Stage, StudyState
from linewatch.web.study.study_backend import StudyBackend
from tests.web.study.station import PARTS, Line, a_line


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    """Open a station with the product bottle."""
    with a_line(tmp_path) as line:
        yield line


@pytest.fixture
def studies(line: Line) -> Iterator[StudyBackend]:
    """Return its studies."""
    studies = line.studies()
    yield studies
    studies.close()


def new(studies: StudyBackend, **more: Any) -> NewStudy:
    """Return a study of three good and three defective parts in two passes."""
    usual: dict[str, Any] = {
        "product": "bottle",
        "parts": studies.read_parts(PARTS),
        "good": 0,
        "defective": 0,
        "passes": 2,
        "by": "part",
        "people": ("Ann",),
        "rates": Rates(0.4, 0.4),
        "keep_as": "",
        "every_days": 0,
    }
    return NewStudy(**(usual | more))


def begun(studies: StudyBackend, **more: Any) -> str:
    """Plan a study and start it."""
    name = studies.plan(new(studies, **more), "Ann")
    studies.go_on(name, "Ann")
    return name


def state_of(studies: StudyBackend, name: str) -> StudyState:
    """Return a study that is there."""
    state = studies.state(name)
    assert state is not None
    return state


def asked(studies: StudyBackend, name: str) -> str:
    """Return the part asked for."""
    step = state_of(studies, name).step
    assert step is not None
    return step.part


def test_a_study_from_its_plan_to_a_result_that_verifies(line: Line, studies: StudyBackend) -> None:
    """Its hash stands in the audit; one changed character is found; a copy of another station is said."""
    name = studies.plan(new(studies), "Ann")
    assert state_of(studies, name).stage is Stage.PLANNED
    assert [(one.truth, one.parts, one.allowed) for one in studies.prospects(name)] == [
        ("defect", 3, -1),
        ("good", 3, -1),
    ]
    studies.go_on(name, "Ann")
    line.finish(studies, name)

    state = state_of(studies, name)
    assert (state.stage, state.judged, state.outcome) == (Stage.COMPLETE, 12, "not proven")
    assert [(one.name, one.value) for one in state.figures[:3]] == [
        ("miss_rate", 0.0),
        ("false_alarm_rate", 0.0),
        ("repeatability", 1.0),
    ]
    page = studies.result(name)
    assert page is not None
    assert line.audited()[-2:] == [("Ann", "study_begun"), ("Ann", "study_reported")]
    ours = studies.verify(page)
    assert (ours.intact, ours.ours, ours.who, ours.sha256) == (True, True, "Ann", state.sha256)
    bad = studies.verify(page.replace(b"PASS", b"FAIL", 1))
    assert not bad.intact and "was changed" in bad.sentence
    assert "no result of a study" in studies.verify(b"\xff\xfe").sentence


def test_a_result_of_another_station_is_whole_but_not_ours(
    line: Line, studies: StudyBackend, tmp_path: Path
) -> None:
    """The audit of this one does not have its hash."""
    (tmp_path / "other").mkdir()
    with a_line(tmp_path / "other") as other:
        there = other.studies()
        name = begun(there)
        other.finish(there, name)
        page = there.result(name)

    assert page is not None
    found = studies.verify(page)
    assert (found.intact, found.ours, found.product) == (True, False, "bottle")


def test_only_the_part_asked_for_counts(line: Line, studies: StudyBackend) -> None:
    """Another part is named and does not count, nor does the next one before it was asked for."""
    name = begun(studies)
    first, second = (files.load(line.folder / f"studies/{name}.json").order[0][n] for n in (0, 1))
    line.judge("stranger")
    studies.look(name, "Ann")
    assert (state_of(studies, name).other, state_of(studies, name).judged) == ("stranger", 0)

    line.judge(first)
    line.judge(second)
    studies.look(name, "Ann")
    studies.look(name, "Ann")

    assert (state_of(studies, name).judged, asked(studies, name)) == (1, second)
    assert state_of(studies, name).other == ""


def test_what_was_judged_before_the_start_or_while_paused_does_not_count(
    line: Line, studies: StudyBackend
) -> None:
    """Production goes on meanwhile, perhaps with the same ids."""
    name = studies.plan(new(studies), "Ann")
    part = asked(studies, name)
    line.judge(part)
    studies.go_on(name, "Ann")
    studies.look(name, "Ann")
    assert state_of(studies, name).judged == 0

    studies.pause(name, "Ann")
    line.judge(part)
    studies.look(name, "Ann")
    studies.go_on(name, "Ann")
    studies.look(name, "Ann")

    assert state_of(studies, name).judged == 0
    assert [what for _, what in line.audited()] == ["study_begun", "study_paused", "study_begun"]


def test_a_part_that_was_not_judged_is_asked_for_again(line: Line, studies: StudyBackend) -> None:
    """With the reason; the ERROR is counted on its own."""
    name = begun(studies)
    part = asked(studies, name)
    line.judge(part, Result.ERROR)

    studies.look(name, "Ann")

    state = state_of(studies, name)
    assert (state.again, state.judged, state.not_judged) == (Reason.CAMERA_LOST, 0, 1)
    assert asked(studies, name) == part
    line.judge(part)
    studies.look(name, "Ann")
    assert state_of(studies, name).again is None


def test_by_count_the_next_trigger_is_the_part(line: Line, studies: StudyBackend) -> None:
    """Parts are numbered where there are no ids; a page that was closed long pauses the study."""
    name = begun(studies, parts=(), good=2, defective=2, by="count")
    assert asked(studies, name) in {"G1", "G2", "D1", "D2"}
    line.judge("", Result.PASS)
    studies.look(name, "Ann")
    assert state_of(studies, name).judged == 1

    running = studies._running
    assert running is not None
    running.watched_s -= study_backend.WATCHED_S + 1
    line.judge("")
    studies.look(name, "Ann")

    state = state_of(studies, name)
    assert (state.stage, state.judged) == (Stage.PAUSED, 1)
    assert "was not open for 31 s" in state.trouble
    studies.go_on(name, "Ann")
    assert state_of(studies, name).trouble == ""


def test_a_restart_loses_nothing_and_counts_nothing(line: Line, studies: StudyBackend) -> None:
    """After it the study is paused; it goes on where it was."""
    name = begun(studies)
    line.judge(asked(studies, name))
    studies.look(name, "Ann")
    studies.close()

    again = line.studies()
    line.judge(asked(again, name))
    again.look(name, "Ann")
    assert (state_of(again, name).stage, state_of(again, name).judged) == (Stage.PAUSED, 1)
    again.go_on(name, "Ann")
    line.finish(again, name)

    assert state_of(again, name).stage is Stage.COMPLETE


def test_another_model_threshold_or_product_pauses_the_study_with_a_sentence(
    line: Line, studies: StudyBackend
) -> None:
    """Nothing is lost: with the former one it goes on."""
    name = begun(studies)
    line.judge(asked(studies, name))
    studies.look(name, "Ann")
    recipe = line.models.recipes / "bottle.toml"
    before = recipe.read_text()
    recipe.write_text(before + "threshold = 1.9\nunsure_threshold = 1.0\n")
    line.judge(asked(studies, name))
    studies.look(name, "Ann")
    state = state_of(studies, name)
    assert state.stage is Stage.PAUSED and "threshold" in state.trouble and "changed since" in state.trouble

    recipe.write_text(before)
    studies.go_on(name, "Ann")
    line.judge(asked(studies, name), model="00000000")
    studies.look(name, "Ann")
    assert "a study is of one model" in state_of(studies, name).trouble

    other = line.studies(on_line=lambda: ("bottle", "00000000"))
    with pytest.raises(StudyError, match="the study began with"):
        other.go_on(name, "Ann")
    other = line.studies(on_line=lambda: ("cup", line.model))
    with pytest.raises(StudyError, match="inspects 'cup'"):
        other.go_on(name, "Ann")
    studies.go_on(name, "Ann")
    line.finish(studies, name)
    assert state_of(studies, name).stage is Stage.COMPLETE


def test_a_part_is_put_off_and_a_verdict_taken_back_on_record(line: Line, studies: StudyBackend) -> None:
    """Both stand in the audit and in the study."""
    name = begun(studies)
    first = asked(studies, name)
    studies.skip(name, "Ann")
    assert asked(studies, name) != first
    part = asked(studies, name)
    line.judge(part)
    studies.look(name, "Ann")

    studies.undo(name, "Ann")
    studies.look(name, "Ann")

    state = state_of(studies, name)
    assert (state.judged, state.skipped, state.withdrawn, asked(studies, name)) == (0, 1, 1, part)
    assert [what for _, what in line.audited()][1:] == ["study_part_put_off", "study_verdict_withdrawn"]
    with pytest.raises(StudyError, match="no verdict to take back"):
        studies.undo(name, "Ann")


def test_one_study_runs_at_a_station_at_a_time(line: Line, studies: StudyBackend) -> None:
    """Whether here or in a terminal; a pause lets the other run."""
    first, second = begun(studies), studies.plan(new(studies), "Ann")
    with pytest.raises(StudyError, match="a study is running"):
        studies.go_on(second, "Ann")
    settings = Settings(journal=JournalSettings(path=line.folder / "journal.db"))
    with pytest.raises(StudyError, match="a study is running"), hold_station(settings):
        pass

    studies.pause(first, "Ann")

    with hold_station(settings), pytest.raises(StudyError, match="in a terminal"):
        studies.go_on(second, "Ann")
    studies.go_on(second, "Ann")
    assert studies.overview().running == second


def test_the_command_and_the_page_go_on_with_each_others_study(line: Line, studies: StudyBackend) -> None:
    """It is one file of one format."""
    name = begun(studies)
    line.judge(asked(studies, name))
    studies.look(name, "Ann")
    studies.pause(name, "Ann")
    path = line.folder / f"studies/{name}.json"
    study = files.load(path)
    step = study.next_step
    assert step is not None
    files.save(replace(study, judged=(*study.judged, replace(study.judged[0], part=step[1]))), path)

    assert state_of(studies, name).judged == 2
    assert asked(studies, name) == study.order[0][2]


def test_a_set_is_studied_again_in_another_order_and_falls_due(line: Line, studies: StudyBackend) -> None:
    """Its schedule can be changed; removed, its studies stay."""
    first = begun(studies, keep_as="weekly", every_days=7)
    line.finish(studies, first)
    (kept,) = studies.overview().sets
    assert (kept.name, kept.good, kept.defective, kept.last, kept.overdue) == ("weekly", 3, 3, first, False)
    assert kept.due_ms == kept.completed_ms + 7 * 86_400_000
    assert studies.overdue() == ()

    again = studies.plan_again("weekly", ("Bob",), "Bob")

    orders = [files.load(line.folder / f"studies/{name}.json").order for name in (first, again)]
    assert orders[0] != orders[1]
    assert state_of(studies, again).people == ("Bob",)
    assert state_of(studies, again).rates == Rates(0.4, 0.4)
    long_ago = time.time_ns() // 1_000_000 - 8 * 86_400_000
    path = line.folder / f"studies/{first}.result.json"
    path.write_text(path.read_text().replace(str(kept.completed_ms), str(long_ago)))
    (line.folder / f"studies/{first}.html").touch()
    studies.schedule("weekly", 7, "Ann")
    assert [one.name for one in studies.overdue()] == ["weekly"]
    studies.schedule("weekly", 0, "Ann")
    assert studies.overdue() == ()
    studies.forget("weekly", "Ann")
    assert studies.overview().sets == () and len(studies.overview().studies) == 2


def test_a_plan_without_verdicts_is_discarded_and_no_other(line: Line, studies: StudyBackend) -> None:
    """What was measured stays, whatever it says."""
    name = begun(studies)
    studies.discard(name, "Ann")
    assert studies.state(name) is None and studies.overview().running == ""

    name = begun(studies)
    line.judge(asked(studies, name))
    studies.look(name, "Ann")
    with pytest.raises(StudyError, match="has verdicts already"):
        studies.discard(name, "Ann")


def test_without_scipy_a_study_is_refused_with_what_to_install(
    line: Line, studies: StudyBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is begun that could not be finished."""
    assert is_installed()
    name = studies.plan(new(studies), "Ann")
    monkeypatch.setattr(study_backend, "is_installed", lambda: False)

    for act in (lambda: studies.go_on(name, "Ann"), lambda: studies.prospects(name)):
        with pytest.raises(LinewatchError, match=r"linewatch\[study\]"):
            act()
    assert "linewatch[study]" in studies.overview().unavailable


def test_where_no_line_runs_no_study_does(line: Line) -> None:
    """Results can be read and verified there."""
    office = line.studies(on_line=None)
    name = office.plan(new(office), "Ann")

    with pytest.raises(StudyError, match="no line runs here"):
        office.go_on(name, "Ann")


def test_by_count_needs_triggers(line: Line, studies: StudyBackend) -> None:
    """In a free-running line the next verdict is any part's."""
    free = StudyBackend(Settings(study=studies._settings.study), line.journal)

    with pytest.raises(StudyError, match="without a trigger"):
        free.plan(new(studies, by="count"), "Ann")


def test_a_result_that_cannot_be_written_is_written_later(
    line: Line, studies: StudyBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The study stays complete, and the next look tries again."""

    def fail(_: object) -> object:
        raise LinewatchError("no answer")

    name = begun(studies)
    with monkeypatch.context() as broken:
        broken.setattr(study_backend, "result_apart", fail)
        with pytest.raises(LinewatchError, match="no answer"):
            line.finish(studies, name)
        assert (state_of(studies, name).stage, studies.result(name)) == (Stage.COMPLETE, None)

    studies.look(name, "Ann")

    assert studies.result(name) is not None
