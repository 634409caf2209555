"""Sorting out a data set: order by score, heatmaps, and what leaving images out would change."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from linewatch.domain import Result
from linewatch.errors import UsageError
from linewatch.models.bundle import Bundle
from linewatch.settings import ModelsSettings
from linewatch.teach.curation import SHOWN_MAX, Curation
from linewatch.teach.datasets import Datasets
from linewatch.teach.derived_images import PARTS, PARTS_MAX, SIDE_PX, DerivedImages
from linewatch.teach.measuring import measure
from linewatch.teach.score_maps import ScoreMaps, draw_maps
from linewatch.teach.thresholds import add_images
from linewatch.teach.thumbnails import Thumbnails
from linewatch.teach_settings import TeachSettings
from linewatch.teaching import Change, CuratedPlace, Order, Tally, ThresholdEffect
from linewatch.training.reports.good_images import FILE
from linewatch.vision.image_io import decode
from tests.bundles import models_in, part, teach

GOOD = 12
WAIT_S = 60.0


@pytest.fixture
def models(tmp_path: Path) -> ModelsSettings:
    """Return folders for the models."""
    return models_in(tmp_path)


@pytest.fixture
def datasets(tmp_path: Path) -> Datasets:
    """Return a data set of "demo" with good images of different strength, the last the oddest."""
    found = Datasets(TeachSettings(path=tmp_path / "sets"))
    for level in range(GOOD):
        found.add("demo", "train/good", part(3 * level))
    return found


@pytest.fixture
def bundle(models: ModelsSettings) -> Bundle:
    """Return a version that was learnt from these images: scores 0.5, 0.6, ... and 9 of the last."""
    found = teach(models)
    scores = [0.5 + 0.1 * number for number in range(GOOD - 1)] + [9.0]
    rows = [
        {"name": f"{number:06d}.png", "score": score, "group": number}
        for number, score in enumerate(scores, 1)
    ]
    (found.folder / FILE).write_text(json.dumps(rows))
    return found


@pytest.fixture
def maps(datasets: Datasets, models: ModelsSettings) -> Iterator[ScoreMaps]:
    """Return score maps, whose process ends with the test."""
    found = ScoreMaps(datasets, models)
    yield found
    found.close()


@pytest.fixture
def curation(datasets: Datasets, models: ModelsSettings, maps: ScoreMaps) -> Iterator[Curation]:
    """Return what the page asks."""
    thumbnails = Thumbnails(datasets)
    yield Curation(models, datasets, thumbnails, maps)
    thumbnails.close()


def names(found: CuratedPlace) -> list[str]:
    """Return the names of the images in their order."""
    return [picture.name for picture in found.pictures]


def test_the_most_unusual_good_images_come_first(
    curation: Curation, datasets: Datasets, bundle: Bundle
) -> None:
    """Those that were added since the version was learnt have no score and come last."""
    added = datasets.add("demo", "train/good", part(99))

    found = curation.show("demo", "train/good")

    assert (found.version, found.order, found.threshold) == (bundle.version, Order.SCORE, 2.0)
    assert names(found)[0] == f"{GOOD:06d}.png" and names(found)[-1] == added
    assert [picture.raw for picture in found.pictures][-2:] == [0.5, None]


def test_before_anything_is_learnt_near_duplicates_come_first(curation: Curation, datasets: Datasets) -> None:
    """There are no scores, and no maps are drawn."""
    found = curation.show("demo", "train/good")

    assert (found.version, found.order, found.maps) == ("", Order.ALIKE, "")
    assert curation.predict("demo", "", ["000001.png"]) is None


def test_images_are_shown_page_by_page(curation: Curation, datasets: Datasets) -> None:
    """A page that is not there is the last one."""
    for level in range(SHOWN_MAX[Order.ALIKE]):
        datasets.add("demo", "train/good", part(level))

    first, last = (curation.show("demo", "train/good", page=page) for page in (1, 99))

    assert (first.pages, last.page) == (2, 2)
    assert len(first.pictures) == SHOWN_MAX[Order.ALIKE] and len(last.pictures) == GOOD


def test_leaving_the_oddest_image_out_lowers_the_threshold(
    curation: Curation, datasets: Datasets, bundle: Bundle
) -> None:
    """Predicted before anything is moved; an image that was left out counts from then on."""
    odd = f"{GOOD:06d}.png"

    predicted = curation.predict("demo", "", [odd])
    datasets.move("demo", "train/good", [odd], "left_out")
    moved = curation.predict("demo", bundle.version, [])

    assert predicted is not None and predicted == moved
    assert predicted.becomes is not None and predicted.becomes < predicted.threshold
    assert (predicted.left_out, predicted.images) == (1, GOOD - 1)


def test_too_few_images_that_remain_are_said(curation: Curation, bundle: Bundle) -> None:
    """Ten different ones are the least; an unknown version is refused."""
    few = curation.predict("demo", "", [f"{number:06d}.png" for number in range(1, 5)])

    assert few is not None and (few.becomes, few.images) == (None, GOOD - 4)
    with pytest.raises(UsageError, match="has no version"):
        curation.predict("demo", "00000000", [])


@pytest.mark.parametrize("content", ["", "{}", '[{"name": 1}]', "[1, 2]", '[{"name": "a", "score": "x"}]'])
def test_a_damaged_file_of_scores_is_as_none(
    curation: Curation, datasets: Datasets, bundle: Bundle, content: str
) -> None:
    """It may come from an archive of another machine."""
    (bundle.folder / FILE).write_text(content)

    assert curation.show("demo", "train/good").version == ""


def test_defects_that_are_hardest_to_find_come_first(
    curation: Curation, datasets: Datasets, models: ModelsSettings, bundle: Bundle
) -> None:
    """As measured with the version; defects alone are enough to measure with."""
    for strength in (60, 10, 30):
        datasets.add("demo", "test/stain", part(strength))

    measured = measure(datasets, "demo", models.path, models.recipes, bundle.version)

    assert measured is not None and measured.metrics["recall"] == pytest.approx(2 / 3, abs=0.01)
    found = curation.show("demo", "test/stain")
    assert names(found) == ["000002.png", "000003.png", "000001.png"]
    assert [picture.raw for picture in found.pictures] == [1.0, 3.0, 6.0]


def test_maps_are_drawn_by_another_process(
    curation: Curation, maps: ScoreMaps, datasets: Datasets, bundle: Bundle
) -> None:
    """They appear after a moment, and are not drawn twice."""
    before = curation.show("demo", "train/good")
    assert maps._process.wait(WAIT_S) == 0
    after = curation.show("demo", "train/good")

    assert not any(picture.map_ready for picture in before.pictures) and before.waiting >= GOOD
    assert all(picture.map_ready for picture in after.pictures)
    jpeg = maps.read("demo", after.maps, "train/good", "000001.png")
    assert jpeg is not None and decode(jpeg, "map").shape == (64, 64, 3)


def test_another_recipe_has_other_maps(maps: ScoreMaps, models: ModelsSettings, bundle: Bundle) -> None:
    """What was drawn for another region is never shown."""
    before = maps.key("demo")
    (models.recipes / "demo.toml").write_text("index = 1\nroi = [0, 0, 40, 40]\n")

    assert maps.key("demo") != before


def job(
    models: ModelsSettings, folder: Path, files: dict[str, str], images_max: int = 0
) -> dict[str, object]:
    """Return a job to draw maps of `files` into `folder`."""
    return {
        "models": str(models.path),
        "recipes": str(models.recipes),
        "product": "demo",
        "version": "",
        "folder": str(folder),
        "files": files,
        "images_max": images_max,
        "free_bytes_min": 0,
    }


def test_an_image_that_cannot_be_read_hinders_no_other(
    models: ModelsSettings, datasets: Datasets, bundle: Bundle, tmp_path: Path
) -> None:
    """It is named, and not tried again."""
    broken = datasets.add_file("demo", "train/good", b"\x89PNG\r\n\x1a\nrest", "broken", ".png")
    folder = datasets.folder("demo", "train/good")
    files = {name: str(folder / name) for name in (broken, "000001.png")}
    known = DerivedImages(tmp_path / "maps/train__good")

    draw_maps(job(models, known.folder, files), pause=0.0)

    assert (known.is_ready(broken), known.is_ready("000001.png")) == (False, True)
    assert known.is_made(broken) and known.trouble(broken)


def test_maps_of_parts_stay_within_their_bound(
    models: ModelsSettings, datasets: Datasets, bundle: Bundle, tmp_path: Path
) -> None:
    """Each position of the slider asks for others."""
    known = DerivedImages(tmp_path / "maps/parts")
    source = str(datasets.file("demo", "train/good", "000001.png"))
    for number in range(4):
        draw_maps(job(models, known.folder, {f"1-{number}": source}, images_max=3), pause=0.0)

    assert known.count() == 1 and known.is_ready("1-3")
    assert PARTS_MAX >= 24, "more than one position shows"


@pytest.mark.parametrize(
    ("key", "place", "name"),
    [
        ("../../x", "train/good", "000001.png"),
        ("", "train/good", "000001.png"),
        ("0" * 16, "train/good", "../../../../etc/passwd"),
        ("0" * 16, "train/good", ".hidden"),
        ("0" * 16, "parts", "../1-1"),
    ],
)
def test_no_key_or_name_leads_out_of_the_maps(maps: ScoreMaps, key: str, place: str, name: str) -> None:
    """Both come from addresses."""
    assert maps.read("demo", key, place, name) is None
    with pytest.raises(UsageError):
        maps.read("demo", "0" * 16, "../..", "1.png")


def test_parts_that_change_sides_get_their_map_and_thumbnail(
    maps: ScoreMaps, datasets: Datasets, bundle: Bundle, tmp_path: Path
) -> None:
    """From the frame that is kept; a rejected part has its heatmap; without a frame there is none."""
    thumbnails = Thumbnails(datasets)
    evidence = tmp_path / "evidence"
    evidence.mkdir()
    frame = datasets.file("demo", "train/good", "000001.png").read_bytes()
    for name in ("kept.png", "rejected.png", "rejected.jpg"):
        (evidence / name).write_bytes(frame)
    changes = (
        change(1, "kept.png", ""),
        change(2, "rejected.png", "rejected.jpg"),
        change(3, "gone.png", "gone.jpg"),
    )

    sources = thumbnails, maps, datasets, evidence
    first = add_images(effect(changes), "demo", *sources)
    assert maps._process.wait(WAIT_S) == 0 and thumbnails._process.wait(WAIT_S) == 0
    later = add_images(effect(changes), "demo", *sources)
    thumbnails.close()

    assert (first.waiting, later.waiting) == (1 + 3, 0), "one map, two frames and a heatmap"
    assert not any(one.thumbnail_ready or one.heatmap_ready for one in first.changes)
    assert [(one.thumbnail_ready, one.heatmap_ready) for one in later.changes] == [
        (True, False),
        (True, True),
        (False, False),
    ]
    small = thumbnails.read("demo", PARTS, "1-2.heatmap")
    assert small is not None and decode(small, "small").shape[1] <= SIDE_PX
    assert thumbnails.read("demo", PARTS, "../1-2") is None
    assert [one.map_ready for one in later.changes] == [True, False, False]
    assert [(one.image, one.heatmap) for one in later.changes] == [
        ("kept.png", ""),
        ("rejected.png", "rejected.jpg"),
        ("", ""),
    ]
    assert maps.read("demo", later.maps, PARTS, "1-1") is not None


def change(seq: int, image: str, heatmap: str) -> Change:
    """Return a part that would be rejected."""
    return Change(
        title=f"1-{seq}",
        raw=1.0,
        actual="",
        boot=1,
        seq=seq,
        image=image,
        heatmap=heatmap,
        was=Result.PASS,
        becomes=Result.FAIL,
    )


def effect(changes: tuple[Change, ...]) -> ThresholdEffect:
    """Return the effect of a threshold that changes these parts."""
    none = Tally(0, 0, 0)
    return ThresholdEffect(1.0, 1.0, 2.0, 0.5, 4.0, 3, 0, none, none, none, none, changes, len(changes))
