"""Interface between the teach pages and what teaches: the protocol `Teaching` and the values it returns.

Every method is called from several web threads at once. Those that change something raise LinewatchError
with one sentence, and change nothing then; `by` is who asked, for the audit.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from linewatch.domain import Box
from linewatch.teaching import (
    Area,
    AuditLine,
    Collecting,
    CuratedPlace,
    LearningState,
    Measured,
    Order,
    ThresholdEffect,
    ThresholdWithout,
    TrialState,
    VersionState,
)
from linewatch.vision.recipe import Region


@dataclass(frozen=True, slots=True)
class LiveFrame:
    """The newest frame of the line, as JPEG, with the figures that help to set up the camera."""

    jpeg: bytes
    width: int  # Of the frame, in pixels.
    height: int
    brightness: float  # Mean grey level, 0 to 255.
    sharpness: float


class Teaching(Protocol):
    """What the teach and product pages need."""

    def begin(self, product: str, index: int, by: str) -> None:
        """Write a recipe with the PLC's product number `index`, 0 for the next free one."""

    def places(self, product: str) -> Mapping[str, int]:
        """Return the number of images in each place of the data set."""

    def curated(self, product: str, place: str, version: str, order: Order | None, page: int) -> CuratedPlace:
        """Return one page of the images of a place, with the scores and maps of `version`.

        With "" it is the newest version that has scores, without `order` that of the scores if there are any.
        """

    def threshold_without(self, product: str, version: str, names: Sequence[str]) -> ThresholdWithout | None:
        """Return what learning without these images would come to; None if nothing was learnt yet."""

    def score_map(self, product: str, key: str, place: str, name: str) -> bytes | None:
        """Return the score map of an image as WebP; None if there is none."""

    def picture_file(self, product: str, place: str, name: str) -> Path:
        """Return the file of an image."""

    def thumbnail(self, product: str, place: str, name: str) -> bytes | None:
        """Return a small WebP of an image; None if it is not made yet."""

    def add_pictures(self, product: str, place: str, files: Iterable[tuple[str, bytes]], by: str) -> int:
        """Store uploaded images (name, content), and return how many.

        Nothing is stored if one is of a wrong kind. Decoding them is left to another process.
        """

    def add_reviewed(self, product: str, by: str) -> Mapping[str, int]:
        """Copy the images of reviewed parts into the data set; return how many good and defective."""

    def move(self, product: str, place: str, names: Sequence[str], to: str, by: str) -> int:
        """Move images to another place of the data set, and return how many."""

    def remove(self, product: str, names: Sequence[str], by: str) -> int:
        """Delete images that were left out, and return how many."""

    def live_frame(self) -> LiveFrame | None:
        """Return the newest frame; None before the first, and where no line runs."""

    def collecting(self) -> Collecting:
        """Return how the current or last collection goes."""

    def collect(self, product: str, place: str, count: int, by: str) -> Collecting:
        """Begin to keep the next frames."""

    def take_one(self, product: str, place: str, by: str) -> str:
        """Keep the newest frame and return its name."""

    def stop_collecting(self, by: str) -> None:
        """End the collection."""

    def area(self, product: str) -> Area:
        """Return what of a product's frames is inspected."""

    def save_area(self, product: str, roi: Box | None, strokes: str, by: str) -> None:
        """Set what of a product's frames is inspected."""

    def regions(self, product: str) -> Sequence[Region]:
        """Return the regions as the recipe sets them."""

    def save_regions(self, product: str, regions: Sequence[Region], by: str) -> None:
        """Set the regions of the recipe."""

    def learning_unavailable(self) -> str:
        """Return why nothing can be learnt on this machine, "" if it can."""

    def learning(self) -> LearningState:
        """Return how far the current or last learning is."""

    def learn(self, product: str, by: str, false_reject: float, detail: str) -> LearningState:
        """Begin to learn."""

    def cancel_learning(self, by: str) -> None:
        """End learning; nothing is kept of it."""

    def measured(self, product: str, version: str) -> Measured | None:
        """Return the figures of a version on the labelled images."""

    def measured_report(self, product: str, version: str) -> bytes | None:
        """Return the same as a report in HTML, without scripts."""

    def versions(self, product: str) -> Sequence[VersionState]:
        """Return a product's versions, newest first."""

    def active_version(self, product: str) -> str:
        """Return the active version, "" before one is."""

    def version_used(self, product: str) -> str:
        """Return the version that judges now, "" if the product is not on the line."""

    def activate(self, product: str, version: str, by: str) -> str:
        """Make a version the active one, let the line take it over, and return it."""

    def roll_back(self, product: str, by: str) -> str:
        """Make the version before the active one; else as `activate`."""

    def try_version(self, product: str, version: str, by: str) -> str:
        """Put a version on trial, and return it."""

    def promote(self, product: str, by: str) -> str:
        """Make the version on trial the active one; else as `activate`."""

    def discard(self, product: str, by: str) -> str:
        """End the trial, and return the version that was on it."""

    def pin_warning(self, product: str) -> str:
        """Return a sentence if the recipe pins another version than the active one, "" otherwise."""

    def trial(self, product: str) -> TrialState | None:
        """Return how the version on trial compares; None if none is."""

    def trial_report(self, product: str) -> bytes | None:
        """Return the same as a report in HTML, with images; None if nothing was compared."""

    def import_archive(self, name: str, data: bytes, by: str) -> tuple[str, str]:
        """Add the version in an archive, and return its product and version."""

    def effect(self, product: str, threshold: float | None, last: int) -> ThresholdEffect:
        """Return what a threshold would do."""

    def save_threshold(self, product: str, threshold: float, by: str) -> str:
        """Write and activate a version with this threshold; else as `activate`."""

    def audit(self, product: str) -> Sequence[AuditLine]:
        """Return the newest audit entries of a product."""
