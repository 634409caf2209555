"""A product that was not learnt, or whose self-test can catch nothing, is no secret."""

from pathlib import Path

from linewatch.domain import Result
from linewatch.models.training_quality import missing_challenge, summarize_training, training_warnings
from tests.bundles import models_in, part, teach


def test_a_training_is_summed_up_in_a_sentence() -> None:
    """What was found of which kind, and what to do if that is too little."""
    good = summarize_training({"made_up_recall": {"scratch": 0.75, "stain": 1.0, "patch": 1.0}})
    bad = summarize_training({"made_up_recall": {"scratch": 0.0, "stain": 0.09, "patch": 0.09}})

    assert good.startswith("This product can be learnt: 92% of synthetic defects are found (scratch 75%, ")
    assert bad.startswith("This product is not learnt well enough: only 6% of synthetic defects are found")
    assert "fix light and position" in bad


def test_a_product_that_was_learnt_well_leaves_no_doubt(tmp_path: Path) -> None:
    """Nor does a model of which nobody knows how well it was learnt."""
    models = models_in(tmp_path)

    assert training_warnings(teach(models, "cup", recall=0.9)) == ()
    assert training_warnings(teach(models, "lid")) == ()


def test_what_was_not_learnt_and_what_cannot_be_caught_blind_are_doubts(tmp_path: Path) -> None:
    """Each with what to do; a real defect among the golden samples settles the second."""
    models = models_in(tmp_path)
    good = [(part(), Result.PASS, 0.0)]

    weak, blind = training_warnings(teach(models, "cup", recall=0.06, golden=good))

    assert weak.startswith("only 6% of synthetic defects were found at training; ")
    assert blind.endswith("add a real one: linewatch models golden cup FRAME --defect")
    assert missing_challenge(teach(models, "lid", golden=[*good, (part(30), Result.FAIL, 3.0)])) == ""
