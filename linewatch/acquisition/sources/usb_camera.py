"""USB cameras through V4L2: request frame size, pixel format and exposure, and report what is granted."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import cv2

from linewatch.acquisition.sources.opencv import LiveSource, VideoCapture
from linewatch.settings import SourceSettings

EXPOSURE_UNIT_US = 100.0  # Of V4L2_CID_EXPOSURE_ABSOLUTE.
EXPOSURE_MANUAL = 1  # Of V4L2_CID_EXPOSURE_AUTO.

log = logging.getLogger(__name__)


class Device(VideoCapture, Protocol):
    """A capture with properties, as cv2.VideoCapture has them."""

    def get(self, prop: int) -> float:
        """Return a property; 0 or -1 if the device does not have it."""

    def set(self, prop: int, value: float) -> bool:
        """Request a property; the device may choose another value."""


OpenDevice = Callable[[int | str], Device]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A setting that the camera did not grant, and what it gives instead."""

    setting: str
    wanted: str
    gives: str

    def __str__(self) -> str:
        return (
            f"{self.setting} = {self.wanted} is not granted, the camera gives {self.gives}; "
            "linewatch cameras lists what it offers"
        )


class UsbCamera(LiveSource):
    """A camera on this machine, named by an index such as 0 or a path such as /dev/v4l/by-id/...

    What the settings leave empty stays as the camera has it. A request that is not granted is logged, and the
    camera is used as it is. `refusals` and `delivers` are known once the camera is open.
    """

    def __init__(self, settings: SourceSettings, open_device: OpenDevice | None = None) -> None:
        self.refusals: tuple[Refusal, ...] = ()
        self.delivers = ""  # Pixel format and frame rate, such as "MJPG at up to 30 frames a second".
        self._settings = settings
        self._open_device = open_device or _open
        super().__init__(
            settings.uri,
            self._open_configured,
            open_timeout_s=settings.open_timeout_s,
            read_timeout_s=settings.read_timeout_s,
        )

    def _open_configured(self) -> VideoCapture:
        uri = self._settings.uri
        device = self._open_device(int(uri) if uri.isdecimal() else uri)
        if device.isOpened():
            self.refusals = tuple(_configure(device, self._settings))
            self.delivers = _describe(device)
            for refusal in self.refusals:
                log.warning(
                    "camera_setting_refused camera=%r setting=%s wanted=%s gives=%s",
                    self.name, refusal.setting, refusal.wanted, refusal.gives,
                )  # fmt: skip
        return device


def _open(device: int | str) -> Device:
    return cv2.VideoCapture(device, cv2.CAP_V4L2)


def _configure(device: Device, wanted: SourceSettings) -> Iterator[Refusal]:
    """Request everything that is set, then yield what was not granted.

    The order matters: the sizes on offer depend on the pixel format, and OpenCV applies a size once it has
    both sides.
    """
    if wanted.pixel_format:
        device.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*wanted.pixel_format))
    if wanted.width:
        device.set(cv2.CAP_PROP_FRAME_WIDTH, wanted.width)
        device.set(cv2.CAP_PROP_FRAME_HEIGHT, wanted.height)
    if wanted.exposure_us is not None:
        device.set(cv2.CAP_PROP_AUTO_EXPOSURE, EXPOSURE_MANUAL)
        device.set(cv2.CAP_PROP_EXPOSURE, max(1, round(wanted.exposure_us / EXPOSURE_UNIT_US)))

    if wanted.pixel_format and (gives := _fourcc(device)) != wanted.pixel_format:
        yield Refusal("source.pixel_format", wanted.pixel_format, gives)
    size = f"{wanted.width}x{wanted.height}"
    if wanted.width and (gives := _size(device)) != size:
        yield Refusal("source.width,source.height", size, gives)
    if wanted.exposure_us is not None:
        units = device.get(cv2.CAP_PROP_EXPOSURE)
        if units <= 0:
            yield Refusal("source.exposure_us", f"{wanted.exposure_us:g}", "automatic")
        elif abs(EXPOSURE_UNIT_US * units - wanted.exposure_us) >= EXPOSURE_UNIT_US:
            yield Refusal("source.exposure_us", f"{wanted.exposure_us:g}", f"{EXPOSURE_UNIT_US * units:g}")


def _describe(device: Device) -> str:
    rate = device.get(cv2.CAP_PROP_FPS)
    return _fourcc(device) + (f" at up to {rate:g} frames a second" if rate > 0 else "")


def _fourcc(device: Device) -> str:
    code = int(device.get(cv2.CAP_PROP_FOURCC))
    return "".join(chr(code >> shift & 0x7F) for shift in (0, 8, 16, 24)) if code > 0 else "unknown"


def _size(device: Device) -> str:
    width, height = device.get(cv2.CAP_PROP_FRAME_WIDTH), device.get(cv2.CAP_PROP_FRAME_HEIGHT)
    return f"{width:.0f}x{height:.0f}"
