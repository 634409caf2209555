"""Folders of training images: find them, check that they match, read them one at a time."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from linewatch.domain import Box, Image
from linewatch.errors import ImageError, UsageError
from linewatch.vision.image_folders import images_in, unreadable_in
from linewatch.vision.image_io import read_image
from linewatch.vision.scoring import cut_roi

IMAGES_MIN = 10
GOOD = "good"  # The folder of good images in a labelled data set; others are named by their defect.
GROUND_TRUTH = "ground_truth"  # The folder of pixel masks of the defects.


@dataclass(frozen=True, slots=True)
class ImageFolder:
    """Image files of one product, read from disk at each iteration: memory holds one at a time.

    Iterating yields the inspected area of each image, (height, width, 3) uint8 BGR.
    """

    paths: tuple[Path, ...]
    roi: Box | None = None
    mask: Path | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def __iter__(self) -> Iterator[Image]:
        for path in self.paths:
            yield read_inspected_area(path, self.roi)

    def frames(self) -> Iterator[Image]:
        """Yield the whole images, (height, width, 3) uint8 BGR."""
        return (read_image(path) for path in self.paths)

    @property
    def roi_origin(self) -> tuple[int, int]:
        """Top left corner (x, y) of the inspected area in the frame, in pixels."""
        return (0, 0) if self.roi is None else self.roi[:2]

    def digest(self) -> str:
        """Return the SHA-256 over names and bytes of all images, as hex digits."""
        total = hashlib.sha256()
        for path in self.paths:
            total.update(os.fsencode(path.name) + b"\0" + hashlib.sha256(path.read_bytes()).digest())
        return total.hexdigest()


def open_image_folder(
    folder: Path, *, roi: Box | None = None, mask: Path | None = None, images_min: int = IMAGES_MIN
) -> ImageFolder:
    """Find the images in `folder` and check that their aspect ratios differ by at most 10 %.

    Raises UsageError if there are fewer than `images_min`, ImageError if one is unreadable
    or differs from the first.
    """
    paths = find_images(folder)
    if len(paths) < images_min:
        raise UsageError(
            f"{str(folder)!r} holds {len(paths)} pictures, {images_min} good ones are the least; "
            "capture more: linewatch capture --out DIR --count N"
        )
    found = ImageFolder(tuple(paths), roi, mask)
    first = read_inspected_area(paths[0], roi).shape
    for path, image in zip(found.paths, found, strict=True):
        # Some cameras crop a few pixels differently; more than that is another camera or product.
        if abs(image.shape[0] / image.shape[1] * first[1] / first[0] - 1) > 0.1:
            raise ImageError(
                path,
                f"is {image.shape[1]}x{image.shape[0]} pixels but {paths[0].name} is {first[1]}x{first[0]}; "
                "train on pictures of one camera set-up",
            )
    return found


def find_images(folder: Path) -> list[Path]:
    """Return the image files directly in `folder`, sorted by name; hidden files are left out.

    Raises UsageError if it is no folder, or if an image in it has a format that cannot be read.
    """
    if not folder.is_dir():
        raise UsageError(f"{str(folder)!r} is not a folder; name the folder that holds the pictures")
    others = unreadable_in(folder)
    if others:
        raise UsageError(
            f"{str(folder)!r} holds {len(others)} pictures in other formats, such as {others[0].name!r}; "
            "convert them to JPEG or PNG, or take them out"
        )
    return images_in(folder)


def read_inspected_area(path: Path, roi: Box | None) -> Image:
    """Read an image and crop it to `roi`. Raises ImageError that names the file."""
    image = read_image(path)
    try:
        return cut_roi(image, roi)[0]
    except ImageError as error:
        raise ImageError(path, "lies outside the recipe's roi; correct the recipe") from error
