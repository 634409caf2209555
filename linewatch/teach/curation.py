"""Sort out a data set: its images with scores and score maps, and what leaving some out would change."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from linewatch.errors import RecipeError, UsageError
from linewatch.models.bundle import Bundle, read_bundle, versions, versions_with_same_scores
from linewatch.settings import ModelsSettings
from linewatch.teach.datasets import Datasets
from linewatch.teach.measuring import read_measured
from linewatch.teach.score_maps import ScoreMaps
from linewatch.teach.thumbnails import Thumbnails
from linewatch.teaching import (
    LEFT_OUT,
    TEST_GOOD,
    TRAIN_GOOD,
    CuratedPlace,
    Order,
    Picture,
    ThresholdWithout,
)
from linewatch.training.reports.good_images import FILE, read_good_images, threshold_without

SHOWN_MAX = {Order.SCORE: 24, Order.ALIKE: 96}  # On one page; in order of score each has its map.


class Curation:
    """The images of the data sets as the page shows them; any thread may call."""

    def __init__(
        self, models: ModelsSettings, datasets: Datasets, thumbnails: Thumbnails, maps: ScoreMaps
    ) -> None:
        self._models = models
        self._datasets = datasets
        self._thumbnails = thumbnails
        self._maps = maps

    def show(
        self, product: str, place: str, version: str = "", order: Order | None = None, page: int = 1
    ) -> CuratedPlace:
        """Return one page of a place, with the scores of `version` or of the newest one that has some.

        Without `order` they are in that of their scores, if any is known. Thumbnails and maps that are
        missing get made. Raises UsageError.
        """
        pictures: Sequence[Picture] = self._thumbnails.pictures(product, place)
        bundle = self._scored_version(product, version)
        scores = self._scores(bundle, place) if bundle else {}
        scored = any(picture.name in scores for picture in pictures)
        order = order or (Order.SCORE if scored else Order.ALIKE)
        arranged = _arrange(
            [replace(picture, raw=scores.get(picture.name)) for picture in pictures], order, place
        )
        count = SHOWN_MAX[order]
        pages = max(1, math.ceil(len(arranged) / count))
        page = min(max(1, page), pages)
        shown = arranged[(page - 1) * count : page * count]
        found = CuratedPlace(
            place=place,
            order=order,
            page=page,
            pages=pages,
            pictures=tuple(shown),
            alike=sum(picture.group > 0 for picture in pictures),
            waiting=sum(not picture.ready and not picture.trouble for picture in shown),
        )
        if bundle is None or not scored:
            return found
        found = replace(found, version=bundle.version, threshold=bundle.calibration.threshold)
        return self._with_maps(product, found) if order is Order.SCORE else found

    def predict(self, product: str, version: str, names: Collection[str]) -> ThresholdWithout | None:
        """Return the threshold that learning without these images, and those left out before, would give.

        None if no version has the scores of its images. Raises UsageError.
        """
        bundle = self._scored_version(product, version)
        if bundle is None:
            return None
        there = set(self._datasets.names(product, TRAIN_GOOD))
        gone = {image.name for image in read_good_images(bundle)} - there
        return threshold_without(bundle, gone | set(names))

    def _scored_version(self, product: str, version: str) -> Bundle | None:
        """Return `version`, or the newest one that has the scores of its images."""
        self._datasets.product_folder(product)  # Refuses what is no name.
        known = versions(self._models.path, product)
        if version and version not in known:
            raise UsageError(f"product {product!r} has no version {version[:20]!r}; load the page again")
        for name in [version] if version else reversed(known):
            try:
                bundle = read_bundle(self._models.path, product, name, verify=False)
            except RecipeError:
                continue  # Damaged; the product's page says so.
            if read_good_images(bundle):
                return bundle
        return None

    def _scores(self, bundle: Bundle, place: str) -> Mapping[str, float]:
        """Return raw scores by name: of models trained without an image, or as measured with the version."""
        if place in (TRAIN_GOOD, LEFT_OUT):
            return {image.name: image.score for image in read_good_images(bundle)}
        for version in (bundle.version, *sorted(versions_with_same_scores(self._models.path, bundle))):
            if measured := read_measured(self._datasets, bundle.product, version):
                return {name: raw for where, name, raw in measured.images if where == place}
        return {}

    def _with_maps(self, product: str, found: CuratedPlace) -> CuratedPlace:
        """Add the maps of the images shown, and begin to draw those that are missing."""
        try:
            key = self._maps.key(product, found.version)
        except RecipeError:
            return found  # No map without a usable version.
        place = found.place
        readable = [picture.name for picture in found.pictures if not picture.trouble]
        files = {name: self._datasets.folder(product, place) / name for name in readable}
        missing = self._maps.make(product, key, found.version, place, files)
        pictures = tuple(
            replace(picture, map_ready=self._maps.is_ready(product, key, place, picture.name))
            for picture in found.pictures
        )
        return replace(found, pictures=pictures, maps=key, waiting=found.waiting + missing)


def has_scores(bundle: Bundle) -> bool:
    """Whether a version has the scores of the images that it was learnt from."""
    return (bundle.folder / FILE).exists()


def _arrange(pictures: Sequence[Picture], order: Order, place: str) -> list[Picture]:
    """Return the images in an order; those without a score last."""
    if order is Order.ALIKE:
        alike = sorted((picture for picture in pictures if picture.group), key=lambda one: one.group)
        return [*alike, *(picture for picture in pictures if not picture.group)]
    sign = -1.0 if place in (TRAIN_GOOD, TEST_GOOD, LEFT_OUT) else 1.0
    return sorted(
        pictures, key=lambda one: (one.raw is None, sign * (0.0 if one.raw is None else one.raw), one.name)
    )
