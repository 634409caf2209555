"""A study from its plan to its verified result."""

import hashlib
import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from linewatch.capability import study as studies
from linewatch.capability.certificate import digest, render, verify
from linewatch.capability.figures import measure
from linewatch.capability.study import KnownPart, Study, StudyError
from linewatch.cli.main import app
from linewatch.domain import Result, Verdict
from linewatch.storage.journal import Journal
from linewatch.storage.journal_reader import JournalFile, JournalReader
from tests.bundles import models_in, teach
from tests.fakes import verdict

PARTS = [KnownPart(f"G{n}", "good") for n in range(6)] + [KnownPart(f"D{n}", "defect") for n in range(5)]


def planned(passes: int = 3, **facts: object) -> Study:
    """Return a study that has not begun."""
    study = studies.plan(PARTS, product="bottle", passes=passes, by="part", people=["Ann"], seed=1)
    return replace(study, **facts)  # type: ignore[arg-type]


def judged(part: str, number: int) -> Verdict:
    """Return what the station says: D0 is missed in the second pass, G1 is always rejected."""
    found = part.startswith("D") and not (part == "D0" and number == 1)
    return verdict(number + 1, Result.FAIL if found or part == "G1" else Result.PASS, part=part)


def complete() -> Study:
    """Return a complete study."""
    study = planned()
    while (step := study.next_step) is not None:
        study = study.with_verdict(judged(step[1], step[0]))
    return study


def test_every_part_is_asked_for_once_in_each_pass_in_another_order() -> None:
    """The order is drawn for each pass, and the same seed draws the same."""
    study = planned()

    assert [sorted(order) for order in study.order] == 3 * [sorted(part.part for part in PARTS)]
    assert len(set(study.order)) == 3
    assert study.order == planned().order


def test_a_complete_study_has_the_figures_of_its_parts() -> None:
    """1 of 15 judgements misses, 3 of 18 are false alarms, 10 of 11 parts repeat."""
    figures = measure(complete())

    assert figures.miss_rate.value == pytest.approx(1 / 15)
    assert figures.false_alarm_rate.value == pytest.approx(3 / 18)
    assert figures.repeatability.value == pytest.approx(10 / 11)
    assert figures.kappa_truth.value == pytest.approx(0.7583, abs=1e-3)
    assert figures.miss_rate.low < 1 / 15 < figures.miss_rate.high


def test_a_study_that_is_not_complete_has_no_figures() -> None:
    """The sentence says how much is missing."""
    with pytest.raises(StudyError, match="33 of the study's verdicts are missing"):
        measure(planned())


def test_an_error_is_presented_again() -> None:
    """A part that was not judged is neither a miss nor an alarm."""
    study = planned()
    step = study.next_step

    after = study.with_verdict(verdict(1, Result.ERROR))

    assert (after.next_step, after.judged, after.not_judged) == (step, (), 1)


def test_a_study_is_of_one_product_and_one_model() -> None:
    """A changeover or another model in between is refused, and nothing is lost."""
    study = planned().with_verdict(verdict(1))

    with pytest.raises(StudyError, match="inspects 'cup', the study is of 'bottle'"):
        study.with_verdict(verdict(2, product="cup"))
    with pytest.raises(StudyError, match="a study is of one model"):
        study.with_verdict(verdict(2, model="00000000"))


def test_a_part_is_put_off_to_the_end_of_its_pass() -> None:
    """It is judged as often as the others; the last part of a pass cannot be put off."""
    study = planned().with_verdict(verdict(1))
    first, later = study.order[0][0], study.order[0][1]

    after = study.put_off()

    assert (after.order[0][0], after.order[0][-1], after.skipped) == (first, later, 1)
    assert after.order[1:] == study.order[1:]
    assert studies.from_document(studies.document(after)) == after
    while after.next_step is not None and after.next_step[1] != later:
        after = after.with_verdict(verdict(1))
    with pytest.raises(StudyError, match="the last one of this pass"):
        after.put_off()
    with pytest.raises(StudyError, match="no part to put off"):
        complete().put_off()


def test_the_last_verdict_is_taken_back_and_stays_on_record() -> None:
    """The part is presented again; what was said first stands on the page, so that nothing is picked."""
    study = planned().with_verdict(verdict(1, Result.FAIL))
    assert study.next_step is not None

    after = study.without_last()

    assert (after.judged, after.withdrawn) == ((), study.judged)
    assert after.next_step == planned().next_step
    with pytest.raises(StudyError, match="no verdict to take back"):
        after.without_last()
    with pytest.raises(StudyError, match="stays as it is"):
        complete().without_last()
    page = render(replace(complete(), withdrawn=study.judged, skipped=2))
    assert f"{study.judged[0].part} in pass 1: FAIL 1155<" in page.replace("\n", "")
    assert "put off to the end of their pass<td>2" in page


@pytest.mark.parametrize(
    ("text", "separator"),
    [("part,truth\nA 1,good\n", ","), ("part;truth\nA 1;Good\n", ";"), ("part\ttruth\nA 1\tgood\n", "tab")],
)
def test_parts_are_pasted_from_a_spreadsheet(text: str, separator: str) -> None:
    """With the separators of Excel's exports and of its clipboard; and they come back as text."""
    parts = studies.parse_parts("\ufeff" + text, "the list")

    assert parts == [KnownPart("A 1", "good")], separator
    assert studies.parse_parts(studies.parts_text(parts), "") == parts


def test_a_study_whose_verdicts_do_not_fit_its_order_is_refused() -> None:
    """An order or verdict that was moved by hand is found."""
    facts = studies.document(complete())

    for field, changed in (
        ("order", facts["order"][::-1]),
        ("judged", facts["judged"][::-1]),
        ("passes", 2),
        ("parts", facts["parts"][1:]),
    ):
        with pytest.raises(StudyError, match=r"not whole"):
            studies.from_document(facts | {field: changed})
    with pytest.raises(StudyError, match="1 fields are wrong"):
        studies.from_document(facts | {"people": 3})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("part,truth\nA,good\nA,good\nB,defect\nC,defect\n", "'A' is listed twice"),
        ("part,truth\nA,good\nB,good\nC,defect\n", "at least 2 of each"),
        ("part,truth\nA,perhaps\n", "line 2"),
        ("id,kind\nA,good\n", "the first line is: part,truth"),
    ],
)
def test_unusable_parts_are_one_sentence(tmp_path: Path, text: str, says: str) -> None:
    """It names the part or the line."""
    path = tmp_path / "parts.csv"
    path.write_text(text)

    with pytest.raises(StudyError, match=says):
        studies.plan(studies.read_parts(path), product="p", passes=2, by="part", people=[], seed=0)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 9}', "nonsense"])
def test_a_damaged_study_is_one_sentence(tmp_path: Path, content: str) -> None:
    """It says what to do."""
    path = tmp_path / "study.json"
    path.write_text(content)

    with pytest.raises(StudyError, match=r"plan one|use that one"):
        studies.load(path)


def test_a_study_comes_back_from_its_file(tmp_path: Path) -> None:
    """Half-way, too: it can be continued after a pause."""
    study = planned().with_verdict(verdict(1))
    studies.save(study, tmp_path / "study.json")

    assert studies.load(tmp_path / "study.json") == study


def test_a_result_verifies_and_one_changed_character_does_not() -> None:
    """Text, figures and data are all covered."""
    study = complete()
    page = render(study)

    assert digest(verify(page)) == digest(study)
    for old, new in (("6.7 %", "0.7 %"), ('"result": "PASS"', '"result": "FAIL"'), ("Ann", "Bob")):
        assert old in page
        with pytest.raises(StudyError, match="was changed"):
            verify(page.replace(old, new, 1))
    with pytest.raises(StudyError, match="was changed"):
        verify("<html></html>")


def test_names_cannot_break_the_page() -> None:
    """A part or a person whose name is markup stays text."""
    study = replace(complete(), people=("</script><script>alert(1)</script>",))

    page = render(study)

    assert "<script>alert" not in page
    assert verify(page) == study


def test_the_walk_through_at_a_running_station(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Plan, run, report, verify: verdicts come from the journal by part id, the hash goes to the audit."""
    models = models_in(tmp_path)
    bundle = teach(models, "bottle")
    settings, parts, out = (tmp_path / name for name in ("linewatch.toml", "parts.csv", "study.json"))
    settings.write_text(
        f'[station]\nproduct = "bottle"\n[journal]\npath = "{tmp_path}/journal.db"\n'
        f'[models]\npath = "{models.path}"\nrecipes = "{models.recipes}"\n'
        '[source]\nkind = "rtsp"\nuri = "rtsp://admin:secret@10.0.0.9/live"\n'
    )
    parts.write_text("part,truth\n" + "".join(f"{one.part},{one.truth}\n" for one in PARTS))
    monkeypatch.setattr("linewatch.cli.proof.msa.POLL_S", 0.001)

    def command(*arguments: object) -> str:
        app(["msa", *map(str, arguments)], standalone_mode=False)
        return capsys.readouterr().out

    text = command("plan", "bottle", "--parts", parts, "--out", out, "--who", "Ann", "--passes", 2)
    assert "5 defect parts: if none is missed, the rate is below 45.1%" in text

    with Journal.open(tmp_path / "journal.db") as journal:

        def line() -> None:
            """Judge the part that is asked for, as often as it takes."""
            seq = 0
            while (step := studies.load(out).next_step) is not None:
                seq += 1
                one = judged(step[1], step[0])
                journal.append(replace(one, boot=journal.boot, seq=seq, model=bundle.version))
                journal.release(journal.boot, seq)

        thread = threading.Thread(target=line)
        thread.start()
        text = command("run", out, "--config", settings)
        thread.join()
    assert "pass 2 of 2" in text and "complete" in text

    page = tmp_path / "study.html"
    text = command("report", out, "--html", page, "--config", settings)
    done = studies.load(out)
    assert digest(done) in text
    with JournalReader(JournalFile(tmp_path / "journal.db")) as reader:
        facts = reader.audit(1)[0].facts
    assert facts["sha256"] == digest(done)
    assert facts["page_sha256"] == hashlib.sha256(page.read_bytes()).hexdigest()
    assert "as it was written" in command("verify", page)
    assert json.loads(command("verify", page, "--json"))["people"] == ["Ann"]
    assert "secret" not in page.read_text() and "10.0.0.9" in page.read_text()
    assert bundle.checksum in page.read_text()
