"""The quality gate: refuse images that cannot be judged, let defects and small changes through."""

import time
from dataclasses import dataclass

import cv2
import numpy as np
import pytest

from linewatch.acquisition.sources.simulator.source import DEFECTS, render
from linewatch.domain import Image, Reason
from linewatch.vision.image_quality import FROZEN_S, QualityGate, bounds_from, brightness, sharpness


@dataclass(frozen=True)
class Statistics:
    """Quantiles as in a model's manifest."""

    brightness: tuple[float, ...]
    sharpness: tuple[float, ...]


def statistics_of(images: list[Image]) -> Statistics:
    """Return the statistics of images as training measures them."""
    shares = (0, 5, 25, 50, 75, 95, 100)
    return Statistics(
        tuple(np.percentile([brightness(image) for image in images], shares)),
        tuple(np.percentile([sharpness(image) for image in images], shares)),
    )


@pytest.fixture(scope="module")
def trained() -> Statistics:
    """Return the statistics of the simulated product."""
    return statistics_of([render(1, number) for number in range(30)])


def blurred(image: Image, width: int, height: int) -> Image:
    """Blur the image as by motion or defocus."""
    return np.asarray(cv2.blur(image, (width, height)), np.uint8)


def lit(image: Image, gain: float) -> Image:
    """Scale the brightness by a gain."""
    return np.asarray(np.clip(image * gain, 0, 255), np.uint8)


def test_every_good_part_may_be_judged(trained: Statistics) -> None:
    """Good parts outside the training set pass the gate."""
    gate = QualityGate(trained, live=True)

    assert {gate.examine(render(2, number)).reason for number in range(40)} == {Reason.NONE}


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defect_is_not_a_bad_image(trained: Statistics, defect: str) -> None:
    """Images of defective parts pass the gate."""
    gate = QualityGate(trained)

    assert {gate.examine(render(3, number, defect)).reason for number in range(10)} == {Reason.NONE}


@pytest.mark.parametrize("gain", [0.1, 0.4, 2.5, 6.0])
def test_too_little_and_too_much_light_is_refused(trained: Statistics, gain: float) -> None:
    """A failed lamp or a wrong exposure time gives BAD_PICTURE."""
    assert QualityGate(trained).examine(lit(render(2, 1), gain)).reason is Reason.BAD_PICTURE


@pytest.mark.parametrize("gain", [0.8, 1.25])
def test_a_little_more_or_less_light_is_judged(trained: Statistics, gain: float) -> None:
    """A change in light of 20 to 25 percent passes the gate."""
    assert QualityGate(trained).examine(lit(render(2, 1), gain)).reason is Reason.NONE


@pytest.mark.parametrize(("width", "height"), [(15, 1), (1, 15), (7, 7)])
def test_a_blurred_image_is_refused(trained: Statistics, width: int, height: int) -> None:
    """Motion blur in either direction and defocus are refused."""
    assert QualityGate(trained).examine(blurred(render(2, 1), width, height)).reason is Reason.BAD_PICTURE


@pytest.mark.parametrize("level", [0, 3, 128, 255])
def test_without_statistics_a_flat_image_is_refused(level: int) -> None:
    """A covered lens and a saturated sensor are refused for any product."""
    assert QualityGate().examine(np.full((64, 64, 3), level, np.uint8)).reason is Reason.BAD_PICTURE
    assert QualityGate().examine(render(1, 1)).reason is Reason.NONE


def test_the_second_identical_image_of_a_camera_is_frozen() -> None:
    """An image that the driver delivers twice is judged once."""
    gate = QualityGate(live=True)
    same = render(1, 1)

    seen = [gate.examine(image).reason for image in (same, same.copy(), same.copy(), render(1, 2), same)]

    assert seen == [Reason.NONE, Reason.FROZEN, Reason.FROZEN, Reason.NONE, Reason.NONE]


def test_another_frame_size_is_refused_until_the_first_one_is_back() -> None:
    """A camera that changes its resolution gives no verdicts, also not after a changeover."""
    gate, after = QualityGate(live=True), QualityGate(live=True)
    whole, small = render(1, 1, size=320), render(1, 2, size=200)

    assert gate.examine(whole).fault == ""
    after.follow(gate)
    refused = after.examine(small)

    assert refused.reason is Reason.BAD_PICTURE
    assert refused.fault == (
        "the camera gives 200x200 pixels instead of 320x320; "
        "set source.width and source.height, or restart linewatch"
    )
    assert after.examine(render(1, 3, size=320)).reason is Reason.NONE
    recording = QualityGate()
    assert [recording.examine(image).reason for image in (whole, small)] == [Reason.NONE] * 2


def test_the_number_of_identical_images_can_be_set() -> None:
    """The n-th identical image in a row is the first to be refused."""
    gate = QualityGate(live=True, frozen_after=3)

    assert [gate.examine(render(1, 1)).reason for _ in range(3)] == [Reason.NONE, Reason.NONE, Reason.FROZEN]


def test_a_static_scene_of_a_compressed_camera_is_not_frozen_at_once() -> None:
    """H.264 repeats a scene without motion byte for byte; a stream that stays so is frozen all the same."""
    times_s = iter((10.0, 10.04, 11.0, 12.9, 13.0, 13.04, 13.08))
    gate = QualityGate(live=True, frozen_s=FROZEN_S["rtsp"], clock_s=lambda: next(times_s))

    seen = [gate.examine(render(1, 1)).reason for _ in range(6)]
    seen.append(gate.examine(render(1, 2)).reason)

    assert seen == [Reason.NONE] * 4 + [Reason.FROZEN] * 2 + [Reason.NONE]


def test_images_that_differ_in_one_pixel_are_not_frozen() -> None:
    """Only images that are equal in every byte are frozen."""
    gate, other = QualityGate(live=True), render(1, 1)
    other[5, 7, 2] ^= 1

    assert [gate.examine(render(1, 1)).reason, gate.examine(other).reason] == [Reason.NONE, Reason.NONE]


def test_a_recording_may_repeat_itself() -> None:
    """Without `live`, equal images pass the gate."""
    gate = QualityGate()

    assert [gate.examine(render(1, 1)).reason for _ in range(3)] == [Reason.NONE] * 3


def test_the_ratios_are_one_for_usual_images(trained: Statistics) -> None:
    """The ratios compare with the median of the training images."""
    quality = QualityGate(trained).examine(render(2, 1))

    assert quality.brightness_ratio == pytest.approx(1.0, abs=0.06)
    assert quality.sharpness_ratio == pytest.approx(1.0, abs=0.15)
    assert QualityGate(trained).examine(lit(render(2, 1), 0.7)).brightness_ratio == pytest.approx(
        0.7, abs=0.05
    )


def test_brightness_is_the_mean_of_green() -> None:
    """Only the green channel counts."""
    assert brightness(np.full((50, 70, 3), (9, 100, 200), np.uint8)) == 100.0


def test_sharpness_falls_with_blur_and_not_with_light() -> None:
    """Blur in any direction lowers the sharpness, a change of illumination does not."""
    image = render(1, 1, None, 400)

    by_blur = [sharpness(blurred(image, size, size)) for size in (1, 3, 5, 9)]
    assert by_blur == sorted(by_blur, reverse=True)
    assert sharpness(blurred(image, 9, 1)) < 0.7 * sharpness(image)
    assert sharpness(blurred(image, 1, 9)) < 0.7 * sharpness(image)
    assert sharpness(lit(image, 0.6)) == pytest.approx(sharpness(image), rel=0.05)
    assert sharpness(np.full((50, 70, 3), 99, np.uint8)) == 0.0


@pytest.mark.parametrize("level", [(2.0, 4.0), (240.0, 254.0), (60.0, 200.0)])
def test_the_bounds_contain_the_training_range(level: tuple[float, float]) -> None:
    """Dark-field and back-lit products are judged too."""
    low, high = level
    bounds = bounds_from(Statistics((low, (low + high) / 2, high), (10.0, 12.0, 20.0)))

    assert bounds.brightness_min < low < high < bounds.brightness_max <= 255
    assert bounds.permit(low, 10.0) and bounds.permit(high, 500.0)


def test_the_gate_is_fast() -> None:
    """Examining a 640x640 frame takes a small part of the time of scoring."""
    gate, images = QualityGate(live=True), [render(1, number, None, 640) for number in range(2)]
    best_s = 1.0
    for number in range(50):
        started = time.perf_counter()
        gate.examine(images[number % 2])
        best_s = min(best_s, time.perf_counter() - started)

    assert best_s < 0.0015  # It takes 0.25 ms; the machine that tests may be slow.
