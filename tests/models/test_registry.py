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
from linewatch.storage.journal_reader import AuditEntry, JournalFile, JournalReader
from tests.bundles import models_in, part, png, teach


class Workshop:
    """Models, recipes and a journal in one folder, as a person at the command line finds them."""

    def __init__(self, folder: Path) -> None:
        self.models = models_in(folder)
        self.settings = Settings(models=self.models, journal=JournalSettings(path=folder / "journal.db"))

    @property
    def active(self) -> str:
        """The version that is active on disk."""
        return active_version(self.models.path, "demo")

    def audit(self) -> list[AuditEntry]:
        """Return the audit, oldest first."""
        with JournalReader(JournalFile(self.settings.journal.path)) as reader:
            return reader.audit(100)[::-1]


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    """Open the shop."""
    return Workshop(tmp_path)


def test_an_activation_is_audited_and_a_rollback_brings_back_the_very_same(shop: Workshop) -> None:
    """Who, when, from, to and why; afterwards the version before is active again."""
    old = teach(shop.models).version
    new = teach(shop.models, golden=[(part(), Result.PASS, 0.0)]).version
    activate(shop.settings, "demo", old, "the lamp is back")

    assert (shop.active, rollback(shop.settings, "demo"), shop.active) == (old, (new, old), new)

    first, second = shop.audit()
    assert (first.action, first.facts) == (
        "model_activated",
        {"product": "demo", "from": new, "to": old, "why": "the lamp is back"},
    )
    assert (second.facts["from"], second.facts["to"], second.facts["why"]) == (old, new, "rollback")
    assert first.who and first.at_ms <= second.at_ms


def test_a_rollback_may_name_its_version(shop: Workshop) -> None:
    """Further back than the one before; the audit calls it a rollback, too."""
    oldest = teach(shop.models, golden=[(part(), Result.PASS, 0.0)]).version
    teach(shop.models, level=101, golden=[])
    newest = teach(shop.models).version

    assert rollback(shop.settings, "demo", oldest) == (oldest, newest)

    assert shop.active == oldest
    assert shop.audit()[-1].facts["why"] == "rollback"


def flip_a_byte(folder: Path) -> None:
    """Change the weights a little."""
    weights = folder / "scorer.bin"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\xff")


def come_from_the_future(folder: Path) -> None:
    """Have a manifest that a later linewatch wrote."""
    path = folder / MANIFEST
    path.write_text(path.read_text().replace('"format": 1', '"format": 2'))


def nothing(folder: Path) -> None:
    """Leave the files alone: its golden sample scores otherwise here."""


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (flip_a_byte, "was changed after training"),
        (come_from_the_future, "has format 2, this linewatch reads 1"),
        (nothing, "scores golden sample golden/0.png 0.0000 instead of 1.7000"),
    ],
)
def test_an_unfit_version_is_refused_and_the_attempt_is_audited(
    shop: Workshop, spoil: Callable[[Path], None], sentence: str
) -> None:
    """Nothing changes; the audit says who wanted what, and why it was not done."""
    old = teach(shop.models).version
    bad = teach(shop.models, golden=[(part(), Result.PASS, 1.7)])
    (shop.models.path / "demo/active").write_text(old + "\n")
    spoil(bad.folder)

    with pytest.raises(RecipeError, match=sentence):
        activate(shop.settings, "demo", bad.version, "new batch")

    assert shop.active == old
    (entry,) = shop.audit()
    assert (entry.action, entry.facts["from"], entry.facts["to"]) == ("model_refused", old, bad.version)
    assert str(entry.facts["why"]).startswith("new batch: ") and sentence in str(entry.facts["why"])


def test_verifying_tests_the_version_that_is_named(shop: Workshop) -> None:
    """The active one and the one that the recipe pins are each tested as themselves."""
    bad = teach(shop.models, golden=[(part(), Result.PASS, 1.7)]).version
    pinned = teach(shop.models).version
    (shop.models.recipes / "demo.toml").write_text(f'index = 1\nmodel = "{pinned}"\n')
    set_active(shop.models.path, "demo", bad)

    assert verify(shop.settings, "demo", pinned).version == pinned
    with pytest.raises(RecipeError, match=f"model demo/{bad} scores golden sample"):
        verify(shop.settings, "demo", "active")


def test_a_pinned_version_is_named_when_another_becomes_active(shop: Workshop) -> None:
    """Whoever activates learns that the line will not follow, and what to write."""
    old = teach(shop.models, golden=[(part(), Result.PASS, 0.0)]).version
    new = teach(shop.models).version
    assert pin_warning(shop.settings, "demo", new) == ""
    (shop.models.recipes / "demo.toml").write_text(f'index = 1\nmodel = "{old}"\n')

    assert pin_warning(shop.settings, "demo", old) == ""
    assert re.fullmatch(
        rf"recipe '.*demo\.toml' pins model {old}, which the line uses all the same; "
        r'write model = "active" there to follow',
        pin_warning(shop.settings, "demo", new),
    )


def test_without_an_earlier_version_there_is_nothing_to_roll_back_to(shop: Workshop) -> None:
    """The sentence says where to look."""
    teach(shop.models)

    with pytest.raises(UsageError, match="no earlier active model; see: linewatch models list demo"):
        rollback(shop.settings, "demo")


def test_a_version_on_trial_is_promoted_and_rolled_back(shop: Workshop) -> None:
    """Each step is audited, and the trial ends with the promotion."""
    new = teach(shop.models, golden=[(part(), Result.PASS, 0.0)]).version
    old = teach(shop.models).version
    (shop.models.path / "demo/previous").unlink()

    start_trial(shop.settings, "demo", new, "a week of parts more")
    assert (shop.active, version_on_trial(shop.settings, "demo")) == (old, new)
    assert promote_trial(shop.settings, "demo", "") == (new, old)
    assert shop.active == new
    with pytest.raises(UsageError, match="no model on trial; begin with: linewatch models try demo VERSION"):
        promote_trial(shop.settings, "demo", "")
    rollback(shop.settings, "demo")

    assert shop.active == old
    assert [entry.action for entry in shop.audit()] == ["trial_begun", "model_activated", "model_activated"]


def test_a_discarded_trial_leaves_the_line_as_it_is(shop: Workshop) -> None:
    """The version stays on disk, for another day."""
    new = teach(shop.models, golden=[(part(), Result.PASS, 0.0)]).version
    old = teach(shop.models).version
    start_trial(shop.settings, "demo", new, "")

    assert discard_trial(shop.settings, "demo", "more false rejects") == new

    assert shop.active == old
    assert [entry.facts["why"] for entry in shop.audit()] == ["", "more false rejects"]


def test_only_a_fit_version_that_is_not_on_the_line_is_put_on_trial(shop: Workshop) -> None:
    """The refusal of an unfit one is audited."""
    bad = teach(shop.models, golden=[(part(), Result.PASS, 1.7)]).version
    old = teach(shop.models).version

    with pytest.raises(UsageError, match="is on the line already"):
        start_trial(shop.settings, "demo", old, "")
    with pytest.raises(RecipeError, match="scores golden sample"):
        start_trial(shop.settings, "demo", bad, "")

    (entry,) = shop.audit()
    assert (entry.action, entry.facts["to"]) == ("model_refused", bad)


def test_an_engineer_s_golden_sample_is_tested_from_now_on(shop: Workshop, tmp_path: Path) -> None:
    """A threshold that would let the defect pass is refused, which was not so before."""
    old = teach(shop.models, golden=[(part(), Result.PASS, 0.0)]).version
    (tmp_path / "defect.png").write_bytes(png(part(25)))

    new, _ = add_golden_sample(shop.settings, "demo", tmp_path / "defect.png", defect=True)

    assert shop.active == new != old
    bundle = read_bundle(shop.models.path, "demo")
    (sample,) = bundle.golden[1:]
    assert (sample.file, sample.expected) == ("golden/defect2.png", Result.FAIL)
    assert sample.raw == pytest.approx(2.5)
    (shop.models.recipes / "demo.toml").write_text("index = 1\nthreshold = 2.6\n")
    with pytest.raises(RecipeError, match=r"golden/defect2\.png must fail but scores 2\.500"):
        prepare("demo", shop.models)
    assert shop.audit()[-1].facts["why"] == "golden sample golden/defect2.png added"


def test_a_golden_sample_keeps_the_mask_of_its_recipe(shop: Workshop, tmp_path: Path) -> None:
    """What may differ on good parts is hidden in the sample, too, whatever becomes of the recipe's mask."""
    teach(shop.models)
    (tmp_path / "part.png").write_bytes(png(part(25)))
    mask = tmp_path / "mask.png"
    cv2.imwrite(str(mask), (255 * (part(25)[:, :, 0] == part()[:, :, 0])).astype(np.uint8))
    recipe = shop.models.recipes / "demo.toml"
    recipe.write_text(f"index = 1\nmask = {str(mask)!r}\n")

    add_golden_sample(shop.settings, "demo", tmp_path / "part.png", defect=False)
    recipe.write_text("index = 1\n")

    _, bundle = prepare("demo", shop.models)
    assert (bundle.golden[-1].expected, bundle.golden[-1].raw) == (Result.PASS, 0.0)


def test_a_golden_sample_is_not_taken_where_the_mask_does_not_fit(shop: Workshop, tmp_path: Path) -> None:
    """The line would judge no part by that recipe; stretched, the mask would hide something else."""
    old = teach(shop.models).version
    (tmp_path / "part.png").write_bytes(png(part()))
    cv2.imwrite(str(tmp_path / "mask.png"), np.full((32, 32), 255, np.uint8))
    (shop.models.recipes / "demo.toml").write_text(f"index = 1\nmask = {str(tmp_path / 'mask.png')!r}\n")

    with pytest.raises(ImageError, match="is 32x32 pixels but frames are 64x64"):
        add_golden_sample(shop.settings, "demo", tmp_path / "part.png", defect=False)

    assert shop.active == old


def test_a_sample_that_the_model_judges_wrongly_is_refused(shop: Workshop, tmp_path: Path) -> None:
    """It would put the line in FAULT at once; learn it first."""
    old = teach(shop.models).version
    (tmp_path / "part.png").write_bytes(png(part(25)))

    with pytest.raises(UsageError, match=r"scores 2\.500 at threshold 2\.000, so it is FAIL; a good part"):
        add_golden_sample(shop.settings, "demo", tmp_path / "part.png", defect=False)

    assert shop.active == old


def test_a_user_without_a_name_is_audited_by_number(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container may run as any user id; nothing may fail after half of a change was made."""
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("os.getuid", lambda: 54_321)

    activate(shop.settings, "demo", teach(shop.models).version)

    assert shop.audit()[-1].who == "uid 54321"
