"""GigE Vision cameras through Aravis: settings, buffers, incomplete frames."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Self

from linewatch.acquisition.sources import aravis
from linewatch.acquisition.sources.pixel_formats import FORMATS, decode
from linewatch.domain import Frame, Reason
from linewatch.errors import CameraLost
from linewatch.settings import GigeSettings

PROTOCOLS = ("GigEVision", "USB3Vision")  # Aravis serves both with the same calls.
BUFFERS = 8
POLL_S = 0.25  # A triggered camera that is lost is noticed within this.

log = logging.getLogger(__name__)


class AwaitingTrigger(Exception):
    """The camera is connected and has had no hardware trigger so far, so there is no frame yet."""


class CameraRefused(CameraLost):
    """The camera rejects a setting; the sentence names the allowed values."""

    def __init__(self, device: str, feature: str, wanted: object, allowed: str, key: str) -> None:
        super(CameraLost, self).__init__(
            f"camera {device!r} does not take {feature} = {wanted}; allowed is {allowed}: change {key}"
        )


@dataclass(frozen=True, slots=True)
class GigeDevice:
    """A GigE Vision camera that answered discovery."""

    id: str
    vendor: str
    model: str
    serial: str
    address: str


def find_devices() -> list[GigeDevice]:
    """Return the GigE Vision cameras that answer discovery within about one second. Raises ConfigError."""
    library = aravis.load()
    library.update_device_list()
    return [
        GigeDevice(
            library.get_device_id(number),
            library.get_device_vendor(number) or "",
            library.get_device_model(number) or "",
            library.get_device_serial_nbr(number) or "",
            library.get_device_address(number) or "",
        )
        for number in range(library.get_n_devices())
        if library.get_device_protocol(number) in PROTOCOLS
    ]


class GigeCamera:
    """A GigE Vision camera, named by its id or address.

    Free-running, `read` returns the newest frame. With `settings.trigger_source` the camera exposes on its
    hardware input, and `read` returns every frame in order and raises AwaitingTrigger in between. A frame
    with missing packets has no image and the fault BAD_PICTURE.
    """

    def __init__(
        self,
        uri: str,
        settings: GigeSettings,
        *,
        read_timeout_s: float,
        size: tuple[int, int] | None = None,
    ) -> None:
        """`size` is the width and height of the frames, cut from the sensor's top left; None: as they are."""
        self.name = uri
        self.live = True
        self._settings = settings
        self._frame_size = size
        self._read_timeout_s = read_timeout_s
        self._lost = threading.Event()
        self._responsive = True  # If not, each control message would wait seconds for its acknowledgement.
        self._camera: Any = None
        self._stream: Any = None
        self._format = ""
        self._exposure_ns = 0

    def __enter__(self) -> Self:
        """Connect and start acquisition. Raises CameraLost, CameraRefused, and ConfigError without Aravis."""
        library = aravis.load()
        self._lost.clear()
        self._responsive = True
        with self._translated("cannot be opened"):
            library.update_device_list()  # Else Aravis may stream to an interface of the wrong network.
            self._camera = library.Camera.new(self.name)
            self._camera.get_device().connect("control-lost", lambda _: self._lost.set())
        try:
            with self._translated("does not start"):
                self._configure()
                self._stream = self._camera.create_stream(None, None)
                payload = self._camera.get_payload()
                for _ in range(BUFFERS):
                    self._stream.push_buffer(library.Buffer.new_allocate(payload))
                self._camera.start_acquisition()
        except CameraRefused:
            self._release(responsive=True)
            raise
        except CameraLost:
            self._release(responsive=False)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop acquisition and release control, so that another program can connect at once."""
        self._release(responsive=self._responsive)

    def read(self) -> Frame | None:
        """Return the next frame, never None. Raises CameraLost and AwaitingTrigger."""
        triggered = bool(self._settings.trigger_source)
        wait_s = POLL_S if triggered else self._read_timeout_s
        buffer = self._stream.timeout_pop_buffer(round(1e6 * wait_s))
        if self._lost.is_set():
            raise self._lose("it does not answer any more")
        if buffer is None:
            if triggered:
                raise AwaitingTrigger
            raise self._lose(f"no frame for {wait_s:g} s")
        while not triggered and (newer := self._stream.try_pop_buffer()) is not None:
            self._stream.push_buffer(buffer)  # Superseded before it was asked for.
            buffer = newer
        try:
            return self._to_frame(buffer)
        finally:
            self._stream.push_buffer(buffer)

    def _lose(self, problem: str) -> CameraLost:
        self._responsive = False
        return CameraLost(self.name, problem)

    def _to_frame(self, buffer: Any) -> Frame:
        now_ns, utc_ns = time.monotonic_ns(), time.time_ns()
        began_ns = buffer.get_system_timestamp() or utc_ns  # 0: the leader packet was lost.
        age_ns = max(0, utc_ns - began_ns) + self._exposure_ns
        status = buffer.get_status().value_nick
        image = None
        if status == "success":
            width, height = buffer.get_image_width(), buffer.get_image_height()
            image = decode(buffer.get_data(), self._format, width, height)
        if image is None:
            statistics = self._stream.get_statistics()
            log.warning(
                "frame_incomplete camera=%r status=%s missing_packets=%d resent_packets=%d",
                self.name, status, statistics.n_missing_packets, statistics.n_resent_packets,
            )  # fmt: skip
        fault = Reason.NONE if image is not None else Reason.BAD_PICTURE
        return Frame(image, now_ns - age_ns, (utc_ns - age_ns) // 1_000_000, fault=fault)

    def _configure(self) -> None:
        library, camera, wanted = aravis.load(), self._camera, self._settings
        camera.stop_acquisition()  # A previous program may have left it running.
        formats = camera.dup_available_pixel_formats_as_strings()
        if wanted.pixel_format:
            apply = camera.set_pixel_format_from_string
            self._choose("PixelFormat", wanted.pixel_format, "gige.pixel_format", formats, apply)
        self._format = camera.get_pixel_format_as_string()
        if self._format not in FORMATS:
            known = _listed([name for name in formats if name in FORMATS])
            raise CameraRefused(self.name, "PixelFormat", self._format, known, "gige.pixel_format")
        if self._frame_size is not None:
            self._set_size(*self._frame_size)
        timed = camera.is_exposure_time_available()
        if wanted.exposure_us is not None:
            if camera.is_exposure_auto_available():
                camera.set_exposure_time_auto(library.Auto.OFF)
            bounds, apply = camera.get_exposure_time_bounds, camera.set_exposure_time
            self._set("ExposureTime", wanted.exposure_us, "gige.exposure_us", timed, bounds, apply)
        if wanted.gain is not None:
            if camera.is_gain_auto_available():
                camera.set_gain_auto(library.Auto.OFF)
            bounds, apply = camera.get_gain_bounds, camera.set_gain
            self._set("Gain", wanted.gain, "gige.gain", camera.is_gain_available(), bounds, apply)
        camera.set_acquisition_mode(library.AcquisitionMode.CONTINUOUS)
        camera.clear_triggers()
        if wanted.trigger_source:  # Not "Software": linewatch sends no software trigger.
            inputs = [name for name in camera.dup_available_trigger_sources() if name != "Software"]
            self._choose(
                "TriggerSource", wanted.trigger_source, "gige.trigger_source", inputs, camera.set_trigger
            )
        network = camera.is_gv_device()  # Not a USB3 Vision camera, which has no packets.
        if wanted.packet_size is None:
            if network:
                camera.gv_auto_packet_size()
        else:
            feature, apply = "GevSCPSPacketSize", camera.gv_set_packet_size
            bounds = partial(camera.get_integer_bounds, feature)
            self._set(feature, wanted.packet_size, "gige.packet_size", network, bounds, apply)
        self._exposure_ns = round(1000 * camera.get_exposure_time()) if timed else 0

    def _set_size(self, width: int, height: int) -> None:
        camera = self._camera
        for feature, side, key in (("OffsetX", 0, "width"), ("OffsetY", 0, "height")):
            if camera.is_feature_available(feature):  # An offset limits the side it belongs to.
                with self._refused(feature, str(side), "nothing else", f"source.{key}"):
                    camera.set_integer(feature, side)
        for feature, side, key in (("Width", width, "width"), ("Height", height, "height")):
            bounds, apply = partial(camera.get_integer_bounds, feature), partial(camera.set_integer, feature)
            self._set(
                feature, side, f"source.{key}", True, bounds, apply, camera.get_integer_increment(feature)
            )

    def _set(
        self,
        feature: str,
        wanted: float,
        key: str,
        available: bool,
        bounds: Callable[[], Any],
        apply: Callable[[Any], None],
        step: int = 1,
    ) -> None:
        if not available:
            raise CameraRefused(self.name, feature, f"{wanted:g}", "nothing, it has no such feature", key)
        limits = bounds()
        allowed = f"{limits.min:g} to {limits.max:g}" + (f" in steps of {step}" if step > 1 else "")
        if not limits.min <= wanted <= limits.max or ((wanted - limits.min) % step and step > 1):
            raise CameraRefused(self.name, feature, f"{wanted:g}", allowed, key)
        with self._refused(feature, f"{wanted:g}", allowed, key):
            apply(wanted)

    def _choose(
        self, feature: str, wanted: str, key: str, choices: Sequence[str], apply: Callable[[str], None]
    ) -> None:
        if wanted not in choices:
            raise CameraRefused(self.name, feature, wanted, _listed(choices), key)
        with self._refused(feature, wanted, _listed(choices), key):
            apply(wanted)

    @contextmanager
    def _refused(self, feature: str, wanted: str, allowed: str, key: str) -> Iterator[None]:
        try:
            yield
        except aravis.error_type() as error:
            raise CameraRefused(self.name, feature, wanted, allowed, key) from error

    @contextmanager
    def _translated(self, problem: str) -> Iterator[None]:
        try:
            yield
        except aravis.error_type() as error:
            raise CameraLost(self.name, f"{problem} ({str(error).rstrip('.')})") from error

    def _release(self, *, responsive: bool) -> None:
        # The only references left: dropping the last one to the stream waits for the camera.
        handles = [self._camera, self._stream]
        self._camera = self._stream = None
        release = threading.Thread(target=_release, args=(handles,), name=f"release {self.name}", daemon=True)
        release.start()
        if responsive:
            release.join()


def _release(handles: list[Any]) -> None:
    camera = handles[0]
    try:
        camera.stop_acquisition()
        camera.get_device().leave_control()
    except aravis.error_type() as error:
        log.info("camera_not_released reason=%r", str(error))
    finally:
        handles.clear()


def _listed(names: Sequence[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"
