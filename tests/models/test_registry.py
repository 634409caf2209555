"""Activation, rollback, trials and golden samples, each with its audit entries."""

import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from linewatch.domain import Result
from linewatch.errors import ImageError, RecipeError, UsageError
from linewatch.models.bundle import MANIFEST, active_version, read_bundle, set_active
from linewatch.models.loader import prepare
from linewatch.models.registry import (
    activate,
    add_golden_sample,
    discard_trial,
    pin_warning,
    promote_trial,
    rollback,
    start_trial,
    verify,
    version_on_trial,
)
from linewatch.settings import JournalSettings, Settings
from linewatch.storage.audit.reading import AuditEntry
from linewatch.storage.journal_reader import JournalFile, JournalReader
from tests.bundles import models_in, part, png, teach


class Workshop:
    """Models, recipes and a journal in one folder."""

    def __init__(self, folder: Path) -> None:
        self.models = models_in(folder)
        self.settings = Settings(models=self.models, journal=JournalSettings(path=folder / "journal.db"))

    @property
    def active(self) -> str:
        """The active version on disk."""
        return active_version(self.models.path, "demo")

    def audit(self) -> list[AuditEntry]:
        """Return the audit, oldest first."""
        with JournalReader(JournalFile(self.settings.journal.path)) as reader:
            return reader.audit(100)[::-1]


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    """Return an empty workworkshop."""
    return Workshop(tmp_path)


def test_an_activation_is_audited_and_a_rollback_undoes_it(workshop: Workshop) -> None:
    """The audit has user, time, versions and reason; a rollback activates the previous version."""
    old = teach(workshop.models).version
    new = teach(workshop.models, golden=[(part(), Result.PASS, 0.0)]).version
    activate(workshop.settings, "demo", old, "the lamp is back")

    assert (workshop.active, rollback(workshop.settings, "demo"), workshop.active) == (old, (new, old), new)

    first, second = workshop.audit()
    assert (first.action, first.facts) == (
        "model_activated",
        {"product": "demo", "from": new, "to": old, "why": "the lamp is back"},
    )
    assert (second.facts["from"], second.facts["to"], second.facts["why"]) == (old, new, "rollback")
    assert first.who and first.at_ms <= second.at_ms


def test_a_rollback_may_name_its_version(workshop: Workshop) -> None:
    """Any earlier version can be activated, and the audit calls it a rollback."""
    oldest = teach(workshop.models, golden=[(part(), Result.PASS, 0.0)]).version
    teach(workshop.models, level=101, golden=[])
    newest = teach(workshop.models).version

    assert rollback(workshop.settings, "demo", oldest) == (oldest, newest)

    assert workshop.active == oldest
    assert workshop.audit()[-1].facts["why"] == "rollback"


def flip_a_byte(folder: Path) -> None:
    """Change one byte of the weights."""
    weights = folder / "scorer.bin"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\xff")


def come_from_the_future(folder: Path) -> None:
    """Give the manifest the format of a later linewatch."""
    path = folder / MANIFEST
    path.write_text(path.read_text().replace('"format": 1', '"format": 2'))


def nothing(folder: Path) -> None:
    """Leave the files: the recorded score of the golden sample differs."""


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (flip_a_byte, "was changed after training"),
        (come_from_the_future, "has format 2, this linewatch reads 1"),
        (nothing, "scores golden sample golden/0.png 0.0000 instead of 1.7000"),
    ],
)
def test_an_unfit_version_is_refused_and_the_attempt_is_audited(
    workshop: Workshop, spoil: Callable[[Path], None], sentence: str
) -> None:
    """The active version stays; the audit has the requested version and the reason of the refusal."""
    old = teach(workshop.models).version
    bad = teach(workshop.models, golden=[(part(), Result.PASS, 1.7)])
    (workshop.models.path / "demo/active").write_text(old + "\n")
    spoil(bad.folder)

    with pytest.raises(RecipeError, match=sentence):
        activate(workshop.settings, "demo", bad.version, "new batch")

    assert workshop.active == old
    (entry,) = workshop.audit()
    assert (entry.action, entry.facts["from"], entry.facts["to"]) == ("model_refused", old, bad.version)
    assert str(entry.facts["why"]).startswith("new batch: ") and sentence in str(entry.facts["why"])


def test_verifying_tests_the_version_that_is_named(workshop: Workshop) -> None:
    """Both the active and the pinned version run their own golden samples."""
    bad = teach(workshop.models, golden=[(part(), Result.PASS, 1.7)]).version
    pinned = teach(workshop.models).version
    (workshop.models.recipes / "demo.toml").write_text(f'index = 1\nmodel = "{pinned}"\n')
    set_active(workshop.models.path, "demo", bad)

    assert verify(workshop.settings, "demo", pinned).version == pinned
    with pytest.raises(RecipeError, match=f"model demo/{bad} scores golden sample"):
        verify(workshop.settings, "demo", "active")


def test_a_pinned_version_is_named_when_another_becomes_active(workshop: Workshop) -> None:
    """The sentence names the pinned version, and how to follow the active one."""
    old = teach(workshop.models, golden=[(part(), Result.PASS, 0.0)]).version
    new = teach(workshop.models).version
    assert pin_warning(workshop.settings, "demo", new) == ""
    (workshop.models.recipes / "demo.toml").write_text(f'index = 1\nmodel = "{old}"\n')

    assert pin_warning(workshop.settings, "demo", old) == ""
    assert re.fullmatch(
        rf"recipe '.*demo\.toml' pins model {old}, which the line uses all the same; "
        r'write model = "active" there to follow',
        pin_warning(workshop.settings, "demo", new),
    )


def test_without_an_earlier_version_there_is_nothing_to_roll_back_to(workshop: Workshop) -> None:
    """The error names the command that lists the versions."""
    teach(workshop.models)

    with pytest.raises(UsageError, match="no earlier active model; see: linewatch models list demo"):
        rollback(workshop.settings, "demo")


def test_a_version_on_trial_is_promoted_and_rolled_back(workshop: Workshop) -> None:
    """Each step is audited, and the trial ends with the promotion."""
    new = teach(workshop.models, golden=[(part(), Result.PASS, 0.0)]).version
    old = teach(workshop.models).version
    (workshop.models.path / "demo/previous").unlink()

    start_trial(workshop.settings, "demo", new, "a week of parts more")
    assert (workshop.active, version_on_trial(workshop.settings, "demo")) == (old, new)
    assert promote_trial(workshop.settings, "demo", "") == (new, old)
    assert workshop.active == new
    with pytest.raises(UsageError, match="no model on trial; begin with: linewatch models try demo VERSION"):
        promote_trial(workshop.settings, "demo", "")
    rollback(workshop.settings, "demo")

    assert workshop.active == old
    assert [entry.action for entry in workshop.audit()] == [
        "trial_begun",
        "model_activated",
        "model_activated",
    ]


def test_a_discarded_trial_leaves_the_line_as_it_is(workshop: Workshop) -> None:
    """The version stays on disk."""
    new = teach(workshop.models, golden=[(part(), Result.PASS, 0.0)]).version
    old = teach(workshop.models).version
    start_trial(workshop.settings, "demo", new, "")

    assert discard_trial(workshop.settings, "demo", "more false rejects") == new

    assert workshop.active == old
    assert [entry.facts["why"] for entry in workshop.audit()] == ["", "more false rejects"]


def test_active_and_unfit_versions_are_not_put_on_trial(workshop: Workshop) -> None:
    """The refusal of an unfit version is audited."""
    bad = teach(workshop.models, golden=[(part(), Result.PASS, 1.7)]).version
    old = teach(workshop.models).version

    with pytest.raises(UsageError, match="is on the line already"):
        start_trial(workshop.settings, "demo", old, "")
    with pytest.raises(RecipeError, match="scores golden sample"):
        start_trial(workshop.settings, "demo", bad, "")

    (entry,) = workshop.audit()
    assert (entry.action, entry.facts["to"]) == ("model_refused", bad)


def test_an_added_golden_sample_is_part_of_the_self_test(workshop: Workshop, tmp_path: Path) -> None:
    """A threshold at which the added defect would pass is refused."""
    old = teach(workshop.models, golden=[(part(), Result.PASS, 0.0)]).version
    (tmp_path / "defect.png").write_bytes(png(part(25)))

    new, _ = add_golden_sample(workshop.settings, "demo", tmp_path / "defect.png", defect=True)

    assert workshop.active == new != old
    bundle = read_bundle(workshop.models.path, "demo")
    (sample,) = bundle.golden[1:]
    assert (sample.file, sample.expected) == ("golden/defect2.png", Result.FAIL)
    assert sample.raw == pytest.approx(2.5)
    (workshop.models.recipes / "demo.toml").write_text("index = 1\nthreshold = 2.6\n")
    with pytest.raises(RecipeError, match=r"golden/defect2\.png must fail but scores 2\.500"):
        prepare("demo", workshop.models)
    assert workshop.audit()[-1].facts["why"] == "golden sample golden/defect2.png added"


def test_a_golden_sample_keeps_the_mask_of_its_recipe(workshop: Workshop, tmp_path: Path) -> None:
    """The sample carries the mask of its time, independent of the recipe's later mask."""
    teach(workshop.models)
    (tmp_path / "part.png").write_bytes(png(part(25)))
    mask = tmp_path / "mask.png"
    cv2.imwrite(str(mask), (255 * (part(25)[:, :, 0] == part()[:, :, 0])).astype(np.uint8))
    recipe = workshop.models.recipes / "demo.toml"
    recipe.write_text(f"index = 1\nmask = {str(mask)!r}\n")

    add_golden_sample(workshop.settings, "demo", tmp_path / "part.png", defect=False)
    recipe.write_text("index = 1\n")

    _, bundle = prepare("demo", workshop.models)
    assert (bundle.golden[-1].expected, bundle.golden[-1].raw) == (Result.PASS, 0.0)


def test_a_golden_sample_is_refused_if_the_mask_does_not_fit(workshop: Workshop, tmp_path: Path) -> None:
    """A mask of another size is an error, as on the line."""
    old = teach(workshop.models).version
    (tmp_path / "part.png").write_bytes(png(part()))
    cv2.imwrite(str(tmp_path / "mask.png"), np.full((32, 32), 255, np.uint8))
    (workshop.models.recipes / "demo.toml").write_text(f"index = 1\nmask = {str(tmp_path / 'mask.png')!r}\n")

    with pytest.raises(ImageError, match="is 32x32 pixels but frames are 64x64"):
        add_golden_sample(workshop.settings, "demo", tmp_path / "part.png", defect=False)

    assert workshop.active == old


def test_a_sample_that_the_model_misjudges_is_refused(workshop: Workshop, tmp_path: Path) -> None:
    """With it every self-test would fail."""
    old = teach(workshop.models).version
    (tmp_path / "part.png").write_bytes(png(part(25)))

    with pytest.raises(UsageError, match=r"scores 2\.500 at threshold 2\.000, so it is FAIL; a good part"):
        add_golden_sample(workshop.settings, "demo", tmp_path / "part.png", defect=False)

    assert workshop.active == old


def test_a_user_without_a_name_is_audited_by_number(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container may run as any user id; nothing may fail after half of a change was made."""
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("os.getuid", lambda: 54_321)

    activate(workshop.settings, "demo", teach(workshop.models).version)

    assert workshop.audit()[-1].who == "uid 54321"
