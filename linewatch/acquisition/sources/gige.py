"""GigE Vision cameras through Aravis: settings, buffers, and nothing judged that is not whole."""

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

BUFFERS = 8
LOOK_S = 0.25  # How soon a lost camera is noticed while it waits for its own trigger.

log = logging.getLogger(__name__)


class Waiting(Exception):
    """Nothing was exposed so far, and nothing is wrong: the camera waits for its own trigger."""


class CameraRefused(CameraLost):
    """The camera is there and does not take a setting; the sentence says what it would take."""

    def __init__(self, device: str, feature: str, wanted: object, allowed: str, key: str) -> None:
        super(CameraLost, self).__init__(
            f"camera {device!r} does not take {feature} = {wanted}; allowed is {allowed}: change gige.{key}"
        )


@dataclass(frozen=True, slots=True)
class Reachable:
    """A camera that answered."""

    id: str
    vendor: str
    model: str
    serial: str
    address: str


def reachable() -> list[Reachable]:
    """Ask the network, about one second, which GigE Vision cameras are there. Raises ConfigError."""
    library = aravis.load()
    library.update_device_list()
    return [
        Reachable(
            library.get_device_id(number),
            library.get_device_vendor(number) or "",
            library.get_device_model(number) or "",
            library.get_device_serial_nbr(number) or "",
            library.get_device_address(number) or "",
        )
        for number in range(library.get_n_devices())
        if library.get_device_protocol(number) == "GigEVision"
    ]


class GigeCamera:
    """A GigE Vision camera by its id or address.

    Running free, `read` gives the newest frame. With `settings.trigger_source` the camera exposes when
    its input says so, and every one of these frames is given, in order; while it waits, `read` raises
    Waiting. A frame of which packets are missing has no picture and the fault BAD_PICTURE.
    """

    def __init__(self, uri: str, settings: GigeSettings, *, read_timeout_s: float) -> None:
        self.name = uri
        self.live = True
        self._settings = settings
        self._read_timeout_s = read_timeout_s
        self._lost = threading.Event()
        self._answers = True  # Else a word of farewell would wait seconds for its reply.
        self._camera: Any = None
        self._stream: Any = None
        self._format = ""
        self._exposure_ns = 0

    def __enter__(self) -> Self:
        """Open it and let it run. Raises CameraLost, CameraRefused, and ConfigError without Aravis."""
        library = aravis.load()
        self._lost.clear()
        self._answers = True
        with self._translating("cannot be opened"):
            library.update_device_list()  # Else it may ask for frames on a network the camera is not in.
            self._camera = library.Camera.new(self.name)
            self._camera.get_device().connect("control-lost", lambda _: self._lost.set())
        try:
            with self._translating("does not start"):
                self._set_up()
                self._stream = self._camera.create_stream(None, None)
                payload = self._camera.get_payload()
                for _ in range(BUFFERS):
                    self._stream.push_buffer(library.Buffer.new_allocate(payload))
                self._camera.start_acquisition()
        except CameraRefused:
            self._let_go(answers=True)
            raise
        except CameraLost:
            self._let_go(answers=False)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it and let go; another program can have it at once."""
        self._let_go(answers=self._answers)

    def read(self) -> Frame | None:
        """Return a frame; never None. Raises CameraLost and Waiting."""
        triggered = bool(self._settings.trigger_source)
        wait_s = LOOK_S if triggered else self._read_timeout_s
        buffer = self._stream.timeout_pop_buffer(round(1e6 * wait_s))
        if self._lost.is_set():
            raise self._gone("it does not answer any more")
        if buffer is None:
            if triggered:
                raise Waiting
            raise self._gone(f"no frame for {wait_s:g} s")
        while not triggered and (newer := self._stream.try_pop_buffer()) is not None:
            self._stream.push_buffer(buffer)  # Nobody asked while it was new.
            buffer = newer
        try:
            return self._frame(buffer)
        finally:
            self._stream.push_buffer(buffer)

    def _gone(self, problem: str) -> CameraLost:
        self._answers = False
        return CameraLost(self.name, problem)

    def _frame(self, buffer: Any) -> Frame:
        now_ns, utc_ns = time.monotonic_ns(), time.time_ns()
        began_ns = buffer.get_system_timestamp() or utc_ns  # 0: the packet that begins a frame was lost.
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

    def _set_up(self) -> None:
        library, camera, wanted = aravis.load(), self._camera, self._settings
        camera.stop_acquisition()  # The program before may have left it running.
        formats = camera.dup_available_pixel_formats_as_strings()
        if wanted.pixel_format:
            give = camera.set_pixel_format_from_string
            self._choose("PixelFormat", wanted.pixel_format, "pixel_format", formats, give)
        self._format = camera.get_pixel_format_as_string()
        if self._format not in FORMATS:
            known = _listed([name for name in formats if name in FORMATS])
            raise CameraRefused(self.name, "PixelFormat", self._format, known, "pixel_format")
        timed = camera.is_exposure_time_available()
        if wanted.exposure_us is not None:
            if camera.is_exposure_auto_available():
                camera.set_exposure_time_auto(library.Auto.OFF)
            bounds, give = camera.get_exposure_time_bounds, camera.set_exposure_time
            self._set("ExposureTime", wanted.exposure_us, "exposure_us", timed, bounds, give)
        if wanted.gain is not None:
            if camera.is_gain_auto_available():
                camera.set_gain_auto(library.Auto.OFF)
            bounds, give = camera.get_gain_bounds, camera.set_gain
            self._set("Gain", wanted.gain, "gain", camera.is_gain_available(), bounds, give)
        camera.set_acquisition_mode(library.AcquisitionMode.CONTINUOUS)
        camera.clear_triggers()
        if wanted.trigger_source:  # By software nobody would trigger it.
            inputs = [name for name in camera.dup_available_trigger_sources() if name != "Software"]
            self._choose("TriggerSource", wanted.trigger_source, "trigger_source", inputs, camera.set_trigger)
        if wanted.packet_size is None:
            camera.gv_auto_packet_size()
        else:
            feature, give = "GevSCPSPacketSize", camera.gv_set_packet_size
            bounds = partial(camera.get_integer_bounds, feature)
            self._set(feature, wanted.packet_size, "packet_size", True, bounds, give)
        self._exposure_ns = round(1000 * camera.get_exposure_time()) if timed else 0

    def _set(
        self,
        feature: str,
        wanted: float,
        key: str,
        available: bool,
        bounds: Callable[[], Any],
        give: Callable[[Any], None],
    ) -> None:
        if not available:
            raise CameraRefused(self.name, feature, f"{wanted:g}", "nothing, it has no such feature", key)
        limits = bounds()
        allowed = f"{limits.min:g} to {limits.max:g}"
        if not limits.min <= wanted <= limits.max:
            raise CameraRefused(self.name, feature, f"{wanted:g}", allowed, key)
        with self._refusing(feature, f"{wanted:g}", allowed, key):
            give(wanted)

    def _choose(
        self, feature: str, wanted: str, key: str, choices: Sequence[str], give: Callable[[str], None]
    ) -> None:
        if wanted not in choices:
            raise CameraRefused(self.name, feature, wanted, _listed(choices), key)
        with self._refusing(feature, wanted, _listed(choices), key):
            give(wanted)

    @contextmanager
    def _refusing(self, feature: str, wanted: str, allowed: str, key: str) -> Iterator[None]:
        try:
            yield
        except aravis.failure() as error:
            raise CameraRefused(self.name, feature, wanted, allowed, key) from error

    @contextmanager
    def _translating(self, problem: str) -> Iterator[None]:
        try:
            yield
        except aravis.failure() as error:
            raise CameraLost(self.name, f"{problem} ({str(error).rstrip('.')})") from error

    def _let_go(self, *, answers: bool) -> None:
        held = [self._camera, self._stream]  # Only here: the last to hold the stream waits for the camera.
        self._camera = self._stream = None
        goodbye = threading.Thread(target=_release, args=(held,), name=f"goodbye {self.name}", daemon=True)
        goodbye.start()
        if answers:  # Else each word to it would wait seconds for its reply.
            goodbye.join()


def _release(held: list[Any]) -> None:
    camera = held[0]
    try:
        camera.stop_acquisition()
        camera.get_device().leave_control()
    except aravis.failure() as trouble:
        log.info("camera_not_released reason=%r", str(trouble))
    finally:
        held.clear()


def _listed(names: Sequence[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"
