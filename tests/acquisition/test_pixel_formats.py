import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from linewatch.acquisition.sources.pixel_formats import FORMATS, decode

WIDTH, HEIGHT = 6, 5


def levels(bits: int) -> NDArray[np.uint16]:
    """Return random pixels of so many bits."""
    return np.random.default_rng(bits).integers(0, 1 << bits, WIDTH * HEIGHT, np.uint16)


def as_bits(values: NDArray[np.uint16], bits: int) -> bytes:
    """Pack pixels one after the other, lowest bit first, as GenICam's "p" formats do."""
    stream = "".join(format(int(value), f"0{bits}b")[::-1] for value in values)
    stream += "0" * (-len(stream) % 8)
    return bytes(int(stream[place : place + 8][::-1], 2) for place in range(0, len(stream), 8))


def as_pairs(values: NDArray[np.uint16], bits: int) -> bytes:
    """Pack two pixels in three bytes: upper eight bits, both remainders, upper eight bits."""
    low = (1 << (bits - 8)) - 1
    return b"".join(
        bytes((one >> (bits - 8), one & low | (two & low) << 4, two >> (bits - 8)))
        for one, two in values.reshape(-1, 2).tolist()
    )


@pytest.mark.parametrize(
    ("name", "bits", "data"),
    [
        ("Mono8", 8, levels(8).astype(np.uint8).tobytes()),
        ("Mono10", 10, levels(10).astype("<u2").tobytes()),
        ("Mono12", 12, levels(12).astype("<u2").tobytes()),
        ("Mono16", 16, levels(16).astype("<u2").tobytes()),
        ("Mono10Packed", 10, as_pairs(levels(10), 10)),
        ("Mono12Packed", 12, as_pairs(levels(12), 12)),
        ("Mono10p", 10, as_bits(levels(10), 10)),
        ("Mono12p", 12, as_bits(levels(12), 12)),
    ],
)
def test_grey_pixels_keep_their_upper_eight_bits(name: str, bits: int, data: bytes) -> None:
    """For every packing; all three channels are equal."""
    image = decode(data, name, WIDTH, HEIGHT)

    assert image is not None
    wanted = (levels(bits) >> (bits - 8)).reshape(HEIGHT, WIDTH)
    assert all(np.array_equal(image[..., channel], wanted) for channel in range(3))


@pytest.mark.parametrize(("name", "red"), [("RG", (0, 0)), ("GR", (0, 1)), ("GB", (1, 0)), ("BG", (1, 1))])
def test_a_red_thing_is_red_in_every_bayer_pattern(name: str, red: tuple[int, int]) -> None:
    """Every Bayer pattern is decoded to BGR."""
    mosaic = np.zeros((16, 16), np.uint8)
    mosaic[red[0] :: 2, red[1] :: 2] = 200

    image = decode(mosaic.tobytes(), f"Bayer{name}8", 16, 16)

    assert image is not None
    blue, green, redness = image[4:12, 4:12].mean(axis=(0, 1))
    assert (blue, green) == (0, 0)
    assert redness == pytest.approx(200)


def test_colours_come_in_opencvs_order() -> None:
    """RGB8 is reordered to BGR, BGR8 is copied."""
    expected = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    turned = cv2.cvtColor(expected, cv2.COLOR_BGR2RGB)

    for data, name in ((turned, "RGB8"), (expected, "BGR8")):
        image = decode(data.tobytes(), name, WIDTH, HEIGHT)
        assert image is not None
        assert np.array_equal(image, expected)


@pytest.mark.parametrize("name", FORMATS)
def test_too_few_bytes_are_no_picture(name: str) -> None:
    """An incomplete image is None, whatever the pixel format."""
    assert decode(b"\0" * (WIDTH * HEIGHT), name, WIDTH, HEIGHT + 1) is None
