"""Decoding of images from files and uploads: every format, and every way it can be damaged."""

import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from linewatch.errors import ImageError, ImageTooLarge
from linewatch.vision.image_io import decode, read_image, read_mask
from linewatch.vision.libjpeg_warnings import decode_strictly

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
    deep = np.full((40, 60), 0x7412, np.uint16)

    assert np.all(decode(encoded(".png", deep), "part") == 0x74)
    assert np.all(decode(encoded(".tif", deep), "part") == 0x74)


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


def exif(image: bytes, orientation: int) -> bytes:
    """Insert EXIF data with an orientation, and a whole thumbnail after it, into a JPEG."""
    tiff = b"MM\0*\0\0\0\x08\0\1" + struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0) + bytes(4)
    content = b"Exif\0\0" + tiff + encoded(".jpg", np.zeros((32, 32, 3), np.uint8))
    return image[:2] + b"\xff\xe1" + struct.pack(">H", 2 + len(content)) + content + image[2:]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_is_read_as_a_person_sees_it(orientation: int) -> None:
    """A phone stores the image as its sensor lies and notes how to turn it."""
    smooth = cv2.GaussianBlur(COLOUR, (9, 9), 0)
    data = exif(encoded(".jpg", smooth), orientation)

    seen = np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))

    assert np.array_equal(decode(data, "photo"), seen)
    assert seen.shape[:2] == ((60, 40) if orientation > 4 else (40, 60))


@pytest.mark.parametrize(
    "options", [[], [cv2.IMWRITE_JPEG_RST_INTERVAL, 4], [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]]
)
@pytest.mark.parametrize("damage", ["zeros", "missing", "noise"])
def test_a_jpeg_damaged_in_the_middle_is_refused(
    damage: str, options: list[int], capfd: pytest.CaptureFixture[str]
) -> None:
    """Decoders fill such an image up and only print a warning, which is not seen then either."""
    random = np.random.default_rng(3)
    image = random.integers(0, 256, (200, 300, 3), np.uint8)
    whole = cv2.imencode(".jpg", image, options)[1].tobytes()
    middle = len(whole) // 2
    parts = {"zeros": bytes(64), "missing": b"", "noise": random.integers(0, 255, 200, np.uint8).tobytes()}
    damaged = whole[:middle] + parts[damage] + whole[middle + max(len(parts[damage]), 150) :]

    assert decode(whole, "part").shape == (200, 300, 3)
    with pytest.raises(ImageError, match=r"is damaged: part of its JPEG data|is cut off or damaged"):
        decode(damaged, "part")
    assert capfd.readouterr().err == ""


def test_what_other_threads_print_meanwhile_is_passed_on(capfd: pytest.CaptureFixture[str]) -> None:
    """Only libjpeg's warnings are kept back."""

    def decode_and_print() -> NDArray[np.generic]:
        os.write(2, b"Corrupt JPEG data: premature end of data segment\nsomething else\n")
        return COLOUR

    assert decode_strictly(decode_and_print)[1]
    assert capfd.readouterr().err == "something else\n" * 2


def test_a_thumbnail_does_not_hide_a_cut_off_end() -> None:
    """The end marker of a thumbnail is not that of the image."""
    data = exif(encoded(".jpg"), 1)

    decode(data, "photo")
    with pytest.raises(ImageError, match="is cut off or damaged"):
        decode(data[:-60], "photo")


@pytest.mark.parametrize("bits", [10, 12, 14])
@pytest.mark.parametrize("shape", [(40, 60), (40, 60, 3), (40, 60, 4)])
def test_bits_in_the_lower_end_of_sixteen_are_refused(bits: int, shape: tuple[int, ...]) -> None:
    """They would be read as nearly black; scaling by the image's own maximum would change scores."""
    low = np.random.default_rng(0).integers(0, 2**bits, shape, np.uint16)
    if len(shape) == 3:
        low[:, :, 3:] = 65_535  # Alpha.
    with pytest.raises(ImageError, match=f"has {bits} bits in the lower end of 16.* by {2 ** (16 - bits)}"):
        decode(encoded(".png", low), "part")

    scaled = low << (16 - bits)
    assert np.array_equal(
        decode(encoded(".png", scaled), "part")[:, :, 0], np.atleast_3d(scaled)[:, :, 0] >> 8
    )


@pytest.mark.parametrize("level", [0, 4 << 8, 60 << 8, 60 * 257, 16_385])
def test_dark_images_of_sixteen_bits_are_read(level: int) -> None:
    """A dark image that was scaled up is no unscaled one: its low bits are 0, or repeat its upper eight."""
    assert np.all(decode(encoded(".tif", np.full((40, 60), level, np.uint16)), "part") == level >> 8)


def tiff(*pages: dict[int, int]) -> bytes:
    """Build a grey TIFF of 40 by 60 pixels; each page has further tags."""
    pixels, data = bytes(2400), b"II*\0" + struct.pack("<I", 8 + 2400)
    data += pixels
    for number, more in enumerate(pages):
        tags = {256: 60, 257: 40, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: 40, 279: 2400} | more
        entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
        following = len(data) + 6 + len(entries) if number + 1 < len(pages) else 0
        data += struct.pack("<H", len(tags)) + entries + struct.pack("<I", following)
    return data


def test_a_tiff_of_several_pages_is_refused() -> None:
    """Only the first would be inspected; a preview beside the image is no page."""
    assert decode(tiff({}), "scan").shape == (40, 60, 3)
    assert decode(tiff({}, {254: 1}), "scan").shape == (40, 60, 3)
    with pytest.raises(ImageError, match="has 2 pages; save the one to inspect"):
        decode(tiff({}, {}), "scan")
    with pytest.raises(ImageError, match="CMYK image for printing"):
        decode(tiff({262: 5}), "scan")


def test_images_for_printing_and_of_phones_are_named() -> None:
    """CMYK and HEIC are one sentence with the remedy."""
    cmyk = bytearray(encoded(".jpg"))
    cmyk[cmyk.index(b"\xff\xc0") + 9] = 4  # The number of components.
    with pytest.raises(ImageError, match="CMYK image for printing; save it as RGB"):
        decode(bytes(cmyk), "print")
    with pytest.raises(ImageError, match="is a HEIC or AVIF photo or a video; save it as JPEG"):
        decode(b"\0\0\0\x24ftypheic" + bytes(100), "photo")


def chunks(png: bytes, *more: tuple[bytes, bytes]) -> bytes:
    """Return a PNG with further chunks after its header."""
    added = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in more
    )
    return png[:33] + added + png[33:]


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".webp", ".ppm"])
@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_a_file_that_is_cut_off_is_refused(suffix: str, kept: float) -> None:
    """Decoders fill what is missing with black or grey."""
    whole = encoded(suffix, np.repeat(np.repeat(COLOUR, 4, 0), 4, 1))
    decode(whole + b"what a tool appends" * 1000, "part")
    with pytest.raises(ImageError, match=r"is cut off|is damaged"):
        decode(whole[: int(kept * len(whole))], "part")


def test_a_png_damaged_in_the_middle_is_refused() -> None:
    """By its check sums; those of comments do not matter."""
    png = encoded(".png")
    middle = png.index(b"IDAT") + 20
    with pytest.raises(ImageError, match="is damaged"):
        decode(png[:middle] + bytes([png[middle] ^ 1]) + png[middle + 1 :], "part")

    noted = chunks(png, (b"tEXt", b"note"))
    decode(noted.replace(b"note", b"torn"), "part")


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (chunks(encoded(".png"), (b"acTL", struct.pack(">II", 3, 0))), "is an animation"),
        (b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0\x02" + bytes(20), "is an animation"),
        (b"P5 40 40 15\n" + bytes(1600), "has values from 0 to 15; save it with 0 to 255"),
        (b"P5\n# 12 bits\n40 40\n4095\n" + bytes(3200), "has values from 0 to 4095"),
        (tiff({262: 0}), "is stored as a negative"),
        (tiff({254: 1}), "raw data of a camera"),
        (tiff({262: 8}), "unusual colour model"),
        (tiff({262: 32803}), "unusual colour model"),
    ],
)
def test_what_a_person_sees_otherwise_is_named(data: bytes, sentence: str) -> None:
    """Animations, values of another scale, negatives and raw photos (DNG, NEF) would be read wrongly."""
    with pytest.raises(ImageError, match=sentence):
        decode(data, "part")


def test_a_mask_may_be_drawn_with_any_value(tmp_path: Path) -> None:
    """Masks of 0 and 1, and of 16 bits, are not black."""
    for dtype in (np.uint8, np.uint16):
        path = tmp_path / f"{dtype.__name__}.png"
        path.write_bytes(encoded(".png", np.repeat([[0, 1]], 40, 0).repeat(30, 1).astype(dtype)))
        assert read_mask(path).sum() == 40 * 30
