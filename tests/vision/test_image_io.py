"""Decoding of images from files and uploads: every format, and every way it can be damaged."""

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from linewatch.errors import ImageError, ImageTooLarge
from linewatch.vision.image_io import decode, read_image

COLOUR = np.random.default_rng(1).integers(0, 256, (40, 60, 3), np.uint8)


def encoded(suffix: str, image: NDArray[np.generic] = COLOUR) -> bytes:
    """Encode an image in the format of a file suffix."""
    done, data = cv2.imencode(suffix, np.asarray(image))
    assert done
    return data.tobytes()


def png(width: int, height: int) -> bytes:
    """Build a small PNG file whose header claims a large image."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(100_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".ppm", ".webp"])
def test_a_lossless_image_is_decoded_unchanged(suffix: str) -> None:
    """Every lossless format keeps pixel values and channel order."""
    assert np.array_equal(decode(encoded(suffix), "part"), COLOUR)


def test_grey_is_expanded_to_colour() -> None:
    """A grey image gets three equal channels."""
    image = decode(encoded(".png", COLOUR[..., 0]), "part")

    assert image.shape == (40, 60, 3)
    assert all(np.array_equal(image[..., channel], COLOUR[..., 0]) for channel in range(3))


def test_sixteen_bits_are_scaled_the_same_way_in_every_image() -> None:
    """The upper eight bits are kept, independent of the image's maximum."""
    deep = np.full((40, 60), 0x3412, np.uint16)

    assert np.all(decode(encoded(".png", deep), "part") == 0x34)
    assert np.all(decode(encoded(".tif", deep), "part") == 0x34)


def test_transparency_is_dropped() -> None:
    """The colour of a transparent pixel is kept."""
    layer = np.dstack([COLOUR, np.zeros((40, 60), np.uint8)])

    assert np.array_equal(decode(encoded(".png", layer), "part"), COLOUR)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif", ".ppm", ".webp"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_a_truncated_image_is_refused(suffix: str, share: float) -> None:
    """A truncated file is refused instead of being filled up with grey."""
    data = encoded(suffix)

    with pytest.raises(ImageError, match=r"cut off|damaged"):
        decode(data[: int(share * len(data))], "part")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (
            b"<svg xmlns='http://www.w3.org/2000/svg' width='400' height='400'></svg>",
            "not a picture of a known",
        ),
        (b"<!doctype html><title>404</title>", "not a picture of a known"),
        (encoded(".gif"), "not a picture of a known"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "not a picture of a known"),
        (b"\xff\xd8\xff\xe0 nonsense \xff\xd9", "damaged"),
        (b"BM" + bytes(60), "damaged"),
        (encoded(".png", np.zeros((31, 60, 3), np.uint8)), "at least 32 on each side"),
        (encoded(".tif", np.zeros((40, 60), np.float32)), "8 or 16 bits"),
    ],
)
def test_data_that_is_not_an_image_is_refused_in_one_sentence(data: bytes, words: str) -> None:
    """The content decides, not the file name, and the sentence gives the remedy."""
    with pytest.raises(ImageError, match=words) as caught:
        decode(data, "part.png")

    assert str(caught.value).startswith("image 'part.png': ")
    assert "\n" not in str(caught.value)


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    """A small file cannot cause an allocation of gigabytes."""
    with pytest.raises(ImageTooLarge, match="50 megapixels"):
        decode(png(60_000, 60_000), "part")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """The error names the path."""
    with pytest.raises(ImageError, match=r"nowhere\.png.*No such file"):
        read_image(tmp_path / "nowhere.png")


def test_damaged_files_print_nothing_to_stderr(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Warnings of the decoders do not reach the terminal."""
    for suffix in (".png", ".jpg", ".bmp", ".tif", ".ppm", ".webp"):
        with pytest.raises(ImageError):
            decode(encoded(suffix)[:-30], "part")

    assert capfd.readouterr().err == ""
