"""The good pictures of one product: found, checked and measured one at a time."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from linewatch.domain import Box, Image
from linewatch.errors import ImageError, UsageError
from linewatch.vision.image_io import SUFFIXES, read_image
from linewatch.vision.scoring import cut_roi

IMAGES_MIN = 10
GOOD = "good"  # Of labelled pictures: the folder of good ones; the others are named by their defect.
TRUTH = "ground_truth"  # Masks that mark the defects.


@dataclass(frozen=True, slots=True)
class Folder:
    """Pictures of one product, read again whenever they are needed: memory holds one at a time."""

    paths: tuple[Path, ...]
    roi: Box | None = None
    mask: Path | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def __iter__(self) -> Iterator[Image]:
        for path in self.paths:
            yield read_area(path, self.roi)

    def frames(self) -> Iterator[Image]:
        """Yield the whole pictures, as the camera gave them."""
        return (read_image(path) for path in self.paths)

    @property
    def corner(self) -> tuple[int, int]:
        """Where the looked-at area begins in the frame: x, y."""
        return (0, 0) if self.roi is None else self.roi[:2]

    def digest(self) -> str:
        """Return the SHA-256 over the names and the bytes of all pictures."""
        total = hashlib.sha256()
        for path in self.paths:
            total.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
        return total.hexdigest()


def open_folder(
    folder: Path, *, roi: Box | None = None, mask: Path | None = None, images_min: int = IMAGES_MIN
) -> Folder:
    """Find the pictures of `folder` and check that all are alike. Raises UsageError and ImageError."""
    paths = find_pictures(folder)
    if len(paths) < images_min:
        raise UsageError(
            f"{str(folder)!r} holds {len(paths)} pictures, {images_min} good ones are the least; "
            "capture more: linewatch capture --out DIR --count N"
        )
    found = Folder(tuple(paths), roi, mask)
    first = read_area(paths[0], roi).shape
    for path, image in zip(found.paths, found, strict=True):
        # A little difference is how some cameras crop; more is another camera or another product.
        if abs(image.shape[0] / image.shape[1] * first[1] / first[0] - 1) > 0.1:
            raise ImageError(
                path,
                f"is {image.shape[1]}x{image.shape[0]} pixels but {paths[0].name} is {first[1]}x{first[0]}; "
                "train on pictures of one camera set-up",
            )
    return found


def find_pictures(folder: Path) -> list[Path]:
    """Return the picture files directly in `folder`, by name. Raises UsageError if there is no folder."""
    if not folder.is_dir():
        raise UsageError(f"{str(folder)!r} is not a folder; name the folder that holds the pictures")
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())


def read_area(path: Path, roi: Box | None) -> Image:
    """Read a picture and cut out what is looked at. Raises ImageError that names the file."""
    image = read_image(path)
    try:
        return cut_roi(image, roi)[0]
    except ImageError as error:
        raise ImageError(path, "lies outside the recipe's roi; correct the recipe") from error
