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


def encoded(suffix: str, picture: NDArray[np.generic] = COLOUR) -> bytes:
    """Encode as the camera or a viewer would save it."""
    done, data = cv2.imencode(suffix, np.asarray(picture))
    assert done
    return data.tobytes()


def png(width: int, height: int) -> bytes:
    """Build a small file that claims to be a large picture."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(100_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".ppm", ".webp"])
def test_a_lossless_picture_comes_back_as_it_was(suffix: str) -> None:
    """Colours and their order survive every lossless format."""
    assert np.array_equal(decode(encoded(suffix), "part"), COLOUR)


def test_grey_becomes_colour() -> None:
    """A grey picture has three equal channels."""
    picture = decode(encoded(".png", COLOUR[..., 0]), "part")

    assert picture.shape == (40, 60, 3)
    assert all(np.array_equal(picture[..., channel], COLOUR[..., 0]) for channel in range(3))


def test_sixteen_bits_are_scaled_the_same_way_in_every_picture() -> None:
    """The upper eight bits are kept, however bright the rest of the picture is."""
    deep = np.full((40, 60), 0x3412, np.uint16)

    assert np.all(decode(encoded(".png", deep), "part") == 0x34)
    assert np.all(decode(encoded(".tif", deep), "part") == 0x34)


def test_transparency_is_dropped() -> None:
    """The colour below a transparent pixel counts."""
    layer = np.dstack([COLOUR, np.zeros((40, 60), np.uint8)])

    assert np.array_equal(decode(encoded(".png", layer), "part"), COLOUR)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif", ".ppm", ".webp"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_half_a_picture_is_no_picture(suffix: str, share: float) -> None:
    """A file that ends too early is refused, never filled up with grey."""
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
def test_what_is_no_picture_is_refused_in_one_sentence(data: bytes, words: str) -> None:
    """Whatever the file's name says, its content decides; the sentence says what to do."""
    with pytest.raises(ImageError, match=words) as caught:
        decode(data, "part.png")

    assert str(caught.value).startswith("image 'part.png': ")
    assert "\n" not in str(caught.value)


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    """A file of a few bytes cannot make us allocate gigabytes."""
    with pytest.raises(ImageTooLarge, match="50 megapixels"):
        decode(png(60_000, 60_000), "part")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A wrong path is said with the path."""
    with pytest.raises(ImageError, match=r"nowhere\.png.*No such file"):
        read_image(tmp_path / "nowhere.png")


def test_damaged_files_leave_our_log_alone(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The decoder's own complaints do not reach the terminal."""
    for suffix in (".png", ".jpg", ".bmp", ".tif", ".ppm", ".webp"):
        with pytest.raises(ImageError):
            decode(encoded(suffix)[:-30], "part")

    assert capfd.readouterr().err == ""
