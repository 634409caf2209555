"""Warnings about weak training and missing challenge samples."""

from pathlib import Path

from linewatch.domain import Result
from linewatch.models.training_quality import (
    is_adequate,
    missing_challenge,
    smallest_found,
    summarize_training,
    training_warnings,
)
from tests.bundles import models_in, part, teach


def test_a_training_is_summarised_in_a_sentence() -> None:
    """The sentence gives the recall by kind, and the remedy if it is low."""
    good = summarize_training({"made_up_recall": {"scratch": 0.75, "stain": 1.0, "patch": 1.0}})
    bad = summarize_training({"made_up_recall": {"scratch": 0.0, "stain": 0.09, "patch": 0.09}})

    assert good.startswith("This product can be learnt: 92% of synthetic defects are found (scratch 75%, ")
    assert bad.startswith("This product is not learnt well enough: only 6% of synthetic defects are found")
    assert "fix light and position" in bad


def test_large_defects_suffice_to_have_learnt() -> None:
    """The sentence states from which size half of the synthetic defects are found."""
    facts = {
        "made_up_recall": {"stain": 0.2},
        "recall_by_size": {
            "0.05": {"stain": 0.0},
            "0.08": {"stain": 0.2},
            "0.15": {"stain": 0.6},
            "0.25": {"stain": 1},
        },
    }

    assert is_adequate(facts) and smallest_found(facts) == 0.15
    assert summarize_training(facts).startswith(
        "Only larger defects are found: half of the synthetic ones from 15%"
    )
    assert not is_adequate({**facts, "recall_by_size": {"0.25": {"stain": 0.4}}})


def test_a_well_trained_product_has_no_warnings(tmp_path: Path) -> None:
    """A model without a measured recall has none either."""
    models = models_in(tmp_path)

    assert training_warnings(teach(models, "cup", recall=0.9)) == ()
    assert training_warnings(teach(models, "lid")) == ()


def test_low_recall_and_a_missing_challenge_are_warnings(tmp_path: Path) -> None:
    """Each gives its remedy; a defect among the golden samples removes the second."""
    models = models_in(tmp_path)
    good = [(part(), Result.PASS, 0.0)]

    weak, blind = training_warnings(teach(models, "cup", recall=0.06, golden=good))

    assert weak.startswith("only 6% of synthetic defects were found at training; ")
    assert blind.endswith("add a real one: linewatch models golden cup FRAME --defect")
    assert missing_challenge(teach(models, "lid", golden=[*good, (part(30), Result.FAIL, 3.0)])) == ""
