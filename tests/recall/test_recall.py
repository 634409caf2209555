"""Since when do parts look like this one: from images on a line to the answer."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from linewatch.cli.main import app
from linewatch.domain import Image, Result
from linewatch.errors import ImageError, LinewatchError, RecipeError
from linewatch.models.bundle import Bundle
from linewatch.models.engine import OpenVinoEngine
from linewatch.models.loader import build_scorer
from linewatch.models.recipe_file import load_recipe
from linewatch.recall.recall import Question, recall
from linewatch.recall.worker import recall_apart
from linewatch.settings import Settings
from linewatch.storage.journal import Journal
from linewatch.storage.signatures import SignatureStore, folder_of
from linewatch.vision.signature import summarise
from tests.bundles import models_in, part, png, teach
from tests.fakes import verdict

NOON_MS = 1_790_035_200_000
EVERY_MS = 30_000


def spot(rng: np.random.Generator, planted: bool) -> Image:
    """Return a noisy part; a planted defect is a faint spot in one place, far below the threshold."""
    image = part().astype(np.int16)
    image += rng.integers(2, 5, (8, 8)).repeat(8, 0).repeat(8, 1)[..., None]
    if planted:
        image[40:48, 8:16] += 9
    return np.asarray(np.clip(image, 0, 255), np.uint8)


class Station:
    """A journal, signatures and evidence of parts that a real scorer scored."""

    def __init__(self, folder: Path) -> None:
        self.models = models_in(folder)
        self.settings = Settings.model_validate(
            {
                "station": {"product": "demo"},
                "journal": {"path": folder / "var/journal.db"},
                "evidence": {"path": folder / "var/evidence"},
                "models": self.models.model_dump(),
            }
        )
        self.rng = np.random.default_rng(0)
        self.seq = 0

    def run(self, bundle: Bundle, planted: Sequence[bool], **facts: Any) -> None:
        """Record parts, one every half minute; a tenth of their images is kept."""
        recipe, _ = load_recipe(self.models.recipes, "demo", self.models.path, bundle.version)
        scorer = build_scorer(bundle, OpenVinoEngine(bundle.graph, threads=1))
        store = SignatureStore(folder_of(self.settings.journal.path))
        rows = []
        with Journal.open(self.settings.journal.path) as journal:
            for defect in planted:
                self.seq += 1
                image = spot(self.rng, defect)
                scored = scorer.score(image, recipe)
                one = replace(
                    verdict(self.seq, raw=scored.raw, threshold=recipe.threshold, **facts),
                    product="demo",
                    model=bundle.version,
                    part=f"P{self.seq:05}",
                    captured_ms=NOON_MS + self.seq * EVERY_MS,
                )
                if self.seq % 10 == 0:
                    one = replace(one, image=f"2026-09-22/pass/41-{self.seq}.png")
                    path = self.settings.evidence.path / one.image
                    path.parent.mkdir(parents=True, exist_ok=True)
                    cv2.imwrite(str(path), image)
                rows.append((one, summarise(scored)))
                journal.append(one)
                journal.release(journal.boot, self.seq)
            store.append(rows, NOON_MS)

    def defective(self) -> Image:
        """Return a part with the defect."""
        return spot(np.random.default_rng(99), planted=True)

    def ask(self, **question: Any) -> Any:
        """Ask for parts like it."""
        return recall(self.settings, self.defective(), Question("demo", **question))


@pytest.fixture
def station(tmp_path: Path) -> Station:
    """Return a station that made 600 parts, of which every other one from 300 to 360 has the defect."""
    station = Station(tmp_path)
    bundle = teach(station.models)
    station.run(bundle, [300 <= seq <= 360 and seq % 2 == 0 for seq in range(1, 601)])
    return station


def test_the_time_of_a_defect_is_named(station: Station) -> None:
    """All parts passed; those with the spot are found, with their ids, and the window is theirs."""
    answer = station.ask()

    (window,) = answer.windows
    assert (window.first_ms, window.last_ms) == (NOON_MS + 300 * EVERY_MS, NOON_MS + 360 * EVERY_MS)
    assert window.parts == 61
    assert 31 <= window.similar <= 36  # A few others made then are about as similar.
    assert answer.scanned == 600
    inside = [found for found in answer.parts if found.in_window]
    assert {found.seq for found in inside} >= set(range(300, 361, 2))
    assert {found.part for found in inside} >= {f"P{seq:05}" for seq in range(300, 361, 2)}
    assert {found.seq for found in answer.parts[:31]} == set(range(300, 361, 2))
    assert sum(similar for _, similar, _ in answer.hours) == window.similar
    assert sum(total for _, _, total in answer.hours) == 600
    assert " similar parts between 2026-09-22 02:30:00 and 03:00:00 UTC, of 61" in answer.text(UTC)


def test_the_time_can_be_limited(station: Station) -> None:
    """Only parts from the first time on and before the second are compared."""
    answer = station.ask(since_ms=NOON_MS + 10 * EVERY_MS, until_ms=NOON_MS + 200 * EVERY_MS)

    assert answer.scanned == 190
    assert answer.windows == ()
    assert "do not cluster" in answer.text(UTC)


def test_another_model_judges_the_parts_again(station: Station) -> None:
    """Where the image is kept, its result stands beside the line's."""
    strict = teach(station.models, level=108)

    answer = station.ask(model=strict.version)

    again = {found.seq: found.again for found in answer.parts if found.again is not None}
    assert set(again) <= set(range(0, 601, 10))
    assert again.keys() >= {300, 310, 320, 330, 340, 350, 360}
    assert set(again.values()) <= set(Result)
    assert f"{strict.version} rejects" in answer.text(UTC)


def test_parts_of_a_model_that_is_gone_are_said_not_to_be_compared(station: Station, tmp_path: Path) -> None:
    """The others are; the sentence counts those that are not."""
    old = teach(station.models, level=104)
    station.run(old, [False] * 60)
    for file in (station.models.path / "demo" / old.version).iterdir():
        if file.is_file():
            file.unlink()

    answer = station.ask()

    assert answer.scanned == 600
    (gap,) = answer.incomparable
    assert (gap.model, gap.parts) == (old.version, 60)
    assert f"not compared: 60 parts of model {old.version}" in answer.text(UTC)


def test_parts_of_two_models_are_compared_with_the_image_as_each_sees_it(station: Station) -> None:
    """The query is scored by each model; both are named."""
    other = teach(station.models, level=104)
    station.run(other, [False] * 60)

    answer = station.ask()

    assert answer.scanned == 660
    assert len(answer.models) == 2 and other.version in answer.models


def test_what_cannot_be_answered_is_one_sentence(station: Station) -> None:
    """No signatures, a time without parts, a model that is not there."""
    with pytest.raises(LinewatchError, match="no signatures of 'cup'"):
        recall(station.settings, station.defective(), Question("cup"))
    with pytest.raises(LinewatchError, match="too few parts to know what is usual"):
        station.ask(since_ms=NOON_MS + 590 * EVERY_MS)
    with pytest.raises(RecipeError, match="linewatch models list"):
        station.ask(model="00000000")


def test_a_lost_journal_leaves_the_numbers(station: Station) -> None:
    """Signatures are found without it; part ids and images are not."""
    for file in station.settings.journal.path.parent.glob("journal.db*"):
        if file.is_file():
            file.unlink()

    found = station.ask().parts[0]

    assert (found.part, found.image) == ("", "")
    assert found.seq in range(300, 361)


def test_a_sheet_has_no_formulas(station: Station) -> None:
    """A part's name that begins like a formula is text in the CSV."""
    answer = station.ask()
    tricky = replace(answer, parts=(replace(answer.parts[0], part="=1+1"), *answer.parts[1:]))

    rows = list(csv.DictReader(io.StringIO(tricky.csv())))

    assert rows[0]["part"] == "'=1+1"
    assert len(rows) == len(answer.parts)


def test_the_command_answers_as_json_and_csv(
    station: Station, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`linewatch recall` names the same window, and writes the parts to a file."""
    settings = tmp_path / "linewatch.toml"
    settings.write_text(
        f'[station]\nproduct = "demo"\n[journal]\npath = "{station.settings.journal.path}"\n'
        f'[models]\npath = "{station.models.path}"\nrecipes = "{station.models.recipes}"\n'
    )
    cv2.imwrite(str(tmp_path / "like.png"), station.defective())
    monkeypatch.setattr("os.nice", lambda _: 0)  # It would last for the tests that follow.

    arguments = ["recall", "--like", str(tmp_path / "like.png"), "--json", "--config", str(settings)]
    app([*arguments, "--csv", str(tmp_path / "out/parts.csv")], standalone_mode=False)

    found = json.loads(capsys.readouterr().out)
    assert found["windows"][0]["first"] == "2026-09-22T02:30:00.000Z"
    assert found["windows"][0]["parts"] == 61
    assert (tmp_path / "out/parts.csv").read_text().count("P003") >= 30


def test_a_search_apart_answers_the_same(station: Station) -> None:
    """The process that the page starts gets settings and image, and raises what the search raises."""
    settings = station.settings
    places = settings.models, settings.journal.path, settings.evidence.path

    answer = recall_apart(*places, Question("demo"), png(station.defective()))

    assert answer["windows"] == station.ask().as_dict()["windows"]
    assert answer["csv"].count("P003") >= 30
    with pytest.raises(ImageError, match="upload"):
        recall_apart(*places, Question("demo"), b"no image")
    with pytest.raises(LinewatchError, match="no signatures of 'cup'"):
        recall_apart(*places, Question("cup"), png(station.defective()))
    with pytest.raises(LinewatchError, match="no answer after"):
        recall_apart(*places, Question("demo"), png(station.defective()), timeout_s=0.01)
