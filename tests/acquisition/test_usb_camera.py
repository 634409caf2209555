from collections.abc import Mapping

import cv2
import numpy as np
import pytest

from linewatch.acquisition.sources import open_source
from linewatch.acquisition.sources.usb_camera import UsbCamera
from linewatch.domain import Image
from linewatch.settings import SourceSettings

YUYV, MJPG = cv2.VideoWriter.fourcc(*"YUYV"), cv2.VideoWriter.fourcc(*"MJPG")


class Device:
    """A camera that offers MJPG at any size of at most 1280x720, and else 640x480 YUYV."""

    def __init__(self, *, exposure: float = 156.0, fixed: bool = False) -> None:
        self._fixed = fixed
        self.asked: list[tuple[int, float]] = []
        self.values = {
            cv2.CAP_PROP_FOURCC: float(YUYV),
            cv2.CAP_PROP_FRAME_WIDTH: 640.0,
            cv2.CAP_PROP_FRAME_HEIGHT: 480.0,
            cv2.CAP_PROP_FPS: 30.0,
            cv2.CAP_PROP_EXPOSURE: exposure,
        }

    def isOpened(self) -> bool:  # noqa: N802
        """Return True."""
        return True

    def get(self, prop: int) -> float:
        """Return what is set now."""
        return self.values.get(prop, -1.0)

    def set(self, prop: int, value: float) -> bool:
        """Take what it can, and the nearest otherwise."""
        self.asked.append((prop, value))
        limits: Mapping[int, float] = {cv2.CAP_PROP_FRAME_WIDTH: 1280, cv2.CAP_PROP_FRAME_HEIGHT: 720}
        refused = prop == cv2.CAP_PROP_FOURCC and value != MJPG
        if refused or self._fixed or self.values.get(prop, -1.0) == -1.0:
            return False
        self.values[prop] = min(value, limits.get(prop, value))
        return True

    def read(self) -> tuple[bool, Image]:
        """Return a frame of the size that is set."""
        width, height = self.values[cv2.CAP_PROP_FRAME_WIDTH], self.values[cv2.CAP_PROP_FRAME_HEIGHT]
        return True, np.zeros((int(height), int(width), 3), np.uint8)

    def release(self) -> None:
        """Close it."""


def camera(device: Device, **settings: object) -> UsbCamera:
    """Return the device as the settings ask for it."""
    return UsbCamera(SourceSettings(kind="camera", uri="0", **settings), lambda _: device)  # type: ignore[arg-type]


def test_size_format_and_exposure_are_requested(caplog: pytest.LogCaptureFixture) -> None:
    """The pixel format first, because the sizes depend on it; the exposure in units of 100 us."""
    device = Device()
    with camera(device, width=1280, height=720, pixel_format="MJPG", exposure_us=2500) as source:
        frame = source.read()

    assert frame is not None and frame.image is not None and frame.image.shape == (720, 1280, 3)
    assert device.asked == [
        (cv2.CAP_PROP_FOURCC, MJPG),
        (cv2.CAP_PROP_FRAME_WIDTH, 1280),
        (cv2.CAP_PROP_FRAME_HEIGHT, 720),
        (cv2.CAP_PROP_AUTO_EXPOSURE, 1),
        (cv2.CAP_PROP_EXPOSURE, 25),
    ]
    assert (source.refusals, source.delivers) == ((), "MJPG at up to 30 frames a second")
    assert "refused" not in caplog.text


def test_without_settings_the_camera_stays_as_it_is() -> None:
    """Nothing is requested, and what it delivers is known all the same."""
    device = Device()
    with camera(device) as source:
        frame = source.read()

    assert frame is not None and frame.image is not None and frame.image.shape == (480, 640, 3)
    assert (device.asked, source.delivers) == ([], "YUYV at up to 30 frames a second")


def test_what_is_not_granted_is_logged_and_the_camera_is_used(caplog: pytest.LogCaptureFixture) -> None:
    """One line for each setting, with what the camera gives instead."""
    device = Device(exposure=-1.0)
    wanted = {"width": 4096, "height": 2160, "pixel_format": "H264", "exposure_us": 500}
    with camera(device, **wanted) as source:
        frame = source.read()

    assert frame is not None and frame.image is not None and frame.image.shape == (720, 1280, 3)
    assert [record.getMessage() for record in caplog.records] == [
        "camera_setting_refused camera='0' setting=source.pixel_format wanted=H264 gives=YUYV",
        "camera_setting_refused camera='0' setting=source.width,source.height wanted=4096x2160 "
        "gives=1280x720",
        "camera_setting_refused camera='0' setting=source.exposure_us wanted=500 gives=automatic",
    ]
    assert str(source.refusals[0]) == (
        "source.pixel_format = H264 is not granted, the camera gives YUYV; "
        "linewatch cameras lists what it offers"
    )


def test_an_exposure_that_was_rounded_a_lot_is_reported() -> None:
    """A camera has its own steps: less than one unit of V4L2 off is granted, more is not."""
    with camera(Device(), exposure_us=2540) as source:
        source.read()
    assert source.refusals == ()

    with camera(Device(fixed=True), exposure_us=2500) as source:
        source.read()
    assert [refusal.gives for refusal in source.refusals] == ["15600"]


@pytest.mark.parametrize(("uri", "opened"), [("0", 0), ("/dev/v4l/by-id/usb-A", "/dev/v4l/by-id/usb-A")])
def test_a_camera_is_opened_by_index_or_path(uri: str, opened: int | str) -> None:
    """OpenCV takes a number or a path."""
    asked: list[int | str] = []

    def open_device(device: int | str) -> Device:
        asked.append(device)
        return Device()

    with UsbCamera(SourceSettings(kind="camera", uri=uri), open_device) as source:
        source.read()

    assert asked == [opened]


def test_the_settings_choose_the_usb_camera() -> None:
    """Kind "camera" is a camera of this machine."""
    assert isinstance(open_source(SourceSettings(kind="camera", uri="0")), UsbCamera)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"pixel_format": "Mono8"}, "is not the four characters of a fourcc"),
        ({"width": 640}, "width and height belong together"),
        ({"height": 640}, "width and height belong together"),
        ({"exposure_us": 0}, "greater than 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, object], words: str) -> None:
    """One sentence says what to write."""
    with pytest.raises(ValueError, match=words):
        SourceSettings.model_validate({"kind": "camera", "uri": "0", **settings})
