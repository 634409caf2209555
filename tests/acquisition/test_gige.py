import fcntl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from linewatch.acquisition.sources import AwaitingTrigger, aravis, open_source
from linewatch.acquisition.sources.gige import CameraRefused, GigeCamera, find_devices
from linewatch.domain import Frame, Reason
from linewatch.errors import CameraLost, ConfigError
from linewatch.settings import GigeSettings, Settings, SourceSettings
from tests.daemon import Daemon
from tests.mosquitto import Mosquitto, Subscriber

CAMERA = Path(__file__).parents[1] / "gige_camera.py"
SYSTEM_PYTHON = "/usr/bin/python3"
NAME = "Aravis-Fake-LW1"


class Camera:
    """Aravis's fake camera in a child process: real GVCP and GVSP on loopback."""

    def __init__(self, lost: float = 0.0) -> None:
        self.lost = lost
        self.start()

    def start(self) -> None:
        """Start it."""
        command = [SYSTEM_PYTHON, str(CAMERA), "LW1", str(self.lost)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self.process.stdout is not None
        said = self.process.stdout.readline().strip()
        if said != "ready":
            self.end()
        assert said == "ready"

    def end(self) -> None:
        """Kill it."""
        if self.process.returncode is None:
            self.process.kill()
            self.process.communicate()


Plug = Callable[[float], Camera]


@pytest.fixture
def plug() -> Iterator[Plug]:
    """Return a function that starts a camera; one at a time, since GigE Vision's port is fixed."""
    script = "import gi; gi.require_version('Aravis', '0.8'); from gi.repository import Aravis"
    command = [SYSTEM_PYTHON, "-c", script]
    if (
        not Path(SYSTEM_PYTHON).exists()
        or subprocess.run(command, capture_output=True, check=False).returncode
    ):
        pytest.skip("apt-get install python3-gi gir1.2-aravis-0.8")
    try:
        aravis.load()
    except ConfigError:
        pytest.skip(f"Debian's python3-gi is for another Python than {sys.version.split()[0]}")
    plugged: list[Camera] = []

    def plug_in(lost: float = 0.0) -> Camera:
        plugged.append(Camera(lost))
        return plugged[-1]

    with (Path(tempfile.gettempdir()) / "linewatch-gige-test.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield plug_in
        finally:
            for camera in plugged:
                camera.end()


@pytest.fixture
def camera(plug: Plug) -> Camera:
    """Start a camera that runs free at 25 frames per second."""
    return plug(0.0)


def opened(
    read_timeout_s: float = 10.0, size: tuple[int, int] | None = None, **settings: object
) -> GigeCamera:
    """Return the camera as a source; its time-out is long, for a busy machine."""
    return GigeCamera(NAME, GigeSettings.model_validate(settings), read_timeout_s=read_timeout_s, size=size)


def whole(source: GigeCamera) -> Frame:
    """Read until a frame is complete: a busy machine drops a few packets."""
    for _ in range(3):
        frame = source.read()
        assert frame is not None
        assert 0 <= time.monotonic_ns() - frame.captured_ns < 5e9
        if frame.image is not None:
            return frame
    raise AssertionError("no frame was whole")


def test_frames_flow_and_each_is_new(camera: Camera) -> None:
    """Complete colour images, in order, each stamped with its time of exposure."""
    with opened() as source:
        read = [source.read() for _ in range(22)]

    frames = [frame for frame in read if frame is not None and frame.image is not None]
    assert len(frames) >= 20
    times = [frame.captured_ns for frame in frames]
    assert times == sorted(set(times))
    for frame in frames:
        assert frame.image is not None
        assert frame.image.shape == (512, 512, 3)
        assert frame.image.std() > 10
        assert frame.fault is Reason.NONE


def test_nothing_old_is_read_after_a_pause(camera: Camera) -> None:
    """Frames that arrived between two reads are skipped, or have lost their image."""
    with opened() as source:
        source.read()
        time.sleep(1.0)  # Longer than all buffers last.
        asked_ns = time.monotonic_ns()
        source.read()  # The newest of those that were kept.
        frame = whole(source)
        age_ms = (time.monotonic_ns() - frame.captured_ns) / 1e6

    assert age_ms < (time.monotonic_ns() - asked_ns) / 1e6 + 100


@pytest.mark.parametrize("name", ["Mono8", "BayerRG8", "RGB8", "Mono16"])
def test_a_pixel_format_can_be_chosen(camera: Camera, name: str) -> None:
    """Every supported pixel format becomes a BGR image."""
    with opened(pixel_format=name) as source:
        frame = whole(source)

    assert frame.image is not None
    assert frame.image.shape == (512, 512, 3)
    assert frame.image.dtype == np.uint8


def test_a_frame_size_can_be_chosen(camera: Camera) -> None:
    """Frames have the requested size, and a size that the sensor does not have is refused in one sentence."""
    with opened(size=(320, 240)) as source:
        frame = whole(source)
    assert frame.image is not None and frame.image.shape == (240, 320, 3)

    with (
        pytest.raises(CameraRefused, match=r"Width = 40000; allowed is 1 to \d+: change source.width"),
        opened(size=(40_000, 240)),
    ):
        pass
    with opened() as source:
        assert source.read() is not None


def test_settings_reach_the_camera(camera: Camera) -> None:
    """Exposure, gain and packet size are those of the settings, read back by another program."""
    with opened(exposure_us=2500, gain=3, packet_size=9000, pixel_format="Mono8") as source:
        device = source._camera
        assert device.get_exposure_time() == 2500
        assert device.get_gain() == 3
        assert device.gv_get_packet_size() == 9000
        assert source.read() is not None


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"exposure_us": 5e8}, "ExposureTime = 5e+08; allowed is 10 to 1e+07: change gige.exposure_us"),
        ({"gain": -4}, "Gain = -4; allowed is 0 to 10: change gige.gain"),
        ({"packet_size": 100}, "GevSCPSPacketSize = 100; allowed is 220 to 16404: change gige.packet_size"),
        ({"pixel_format": "Mono99"}, "PixelFormat = Mono99; allowed is BayerBG8, BayerGB8, "),
        ({"trigger_source": "Line7"}, "TriggerSource = Line7; allowed is Line0: change gige.trigger_source"),
        ({"trigger_source": "Software"}, "TriggerSource = Software; allowed is Line0"),
    ],
)
def test_what_the_camera_refuses_is_one_sentence(
    camera: Camera, settings: dict[str, object], words: str
) -> None:
    """It names the feature, the wanted and the allowed values; after that the camera can be opened again."""
    source = GigeCamera(NAME, GigeSettings.model_validate(settings), read_timeout_s=10.0)
    with pytest.raises(CameraRefused) as caught, source:
        pass

    assert words in str(caught.value)
    with opened() as source:
        assert source.read() is not None


def test_a_frame_with_missing_packets_has_no_picture(plug: Plug) -> None:
    """An incomplete frame has no image and the fault BAD_PICTURE; the next one is read as usual."""
    plug(0.01)  # About one packet in hundred, a frame has two hundred.
    with opened() as source:
        frames = [frame for frame in (source.read() for _ in range(5)) if frame is not None]

    broken = [frame for frame in frames if frame.fault is Reason.BAD_PICTURE]
    assert broken
    assert all((frame.image is None) == (frame.fault is Reason.BAD_PICTURE) for frame in frames)


def test_a_camera_that_waits_for_its_own_trigger_is_not_lost(camera: Camera) -> None:
    """Without a trigger `read` raises AwaitingTrigger, not CameraLost."""
    with opened(trigger_source="Line0") as source:
        for _ in range(3):
            with pytest.raises(AwaitingTrigger):
                source.read()


def test_a_camera_that_was_pulled_out_is_lost_and_comes_back(camera: Camera) -> None:
    """Free-running, silence means lost; the same settings open it again."""
    with pytest.raises(CameraLost, match=r"no frame for 0\.5 s|does not answer"), opened(0.5) as source:
        source.read()
        camera.end()
        while True:
            source.read()
    camera.start()

    with opened() as source:
        assert source.read() is not None


def test_a_triggered_camera_that_was_pulled_out_is_lost(camera: Camera) -> None:
    """It is detected while no frame is expected, because the camera stops answering."""
    with pytest.raises(CameraLost, match="does not answer"), opened(trigger_source="Line0") as source:
        camera.end()
        while True:
            with suppress(AwaitingTrigger):
                source.read()


def test_an_absent_camera_is_lost(plug: Plug) -> None:
    """Another attempt may succeed, so this is not a ConfigError."""
    with pytest.raises(CameraLost, match=f"camera '{NAME}': cannot be opened"), opened():
        pass


def test_cameras_that_answer_are_listed(camera: Camera) -> None:
    """`linewatch cameras` prints the settings for each; a camera that was unplugged is not listed."""
    assert (NAME, "127.0.0.1") in [(device.id, device.address) for device in find_devices()]
    command = [sys.executable, "-m", "linewatch", "cameras"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f'kind = "gige"  uri = "{NAME}"' in done.stdout

    camera.end()
    assert NAME not in [device.id for device in find_devices()]


def test_without_the_library_the_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Aravis is optional; opening a GigE camera without it raises ConfigError."""
    monkeypatch.setitem(sys.modules, "gi", None)  # Importing it now raises ImportError.
    monkeypatch.setattr(aravis, "DEBIAN", "/nowhere")
    aravis.load.cache_clear()
    try:
        with pytest.raises(ConfigError, match=r"apt-get install python3-gi gir1\.2-aravis-0.8"), opened():
            pass
    finally:
        aravis.load.cache_clear()


def test_two_triggers_that_exclude_each_other_are_refused() -> None:
    """The part trigger needs every frame, which a triggered camera does not send."""
    with pytest.raises(ValueError, match="has to see every frame"):
        Settings(
            source=SourceSettings(kind="gige", uri=NAME),
            gige=GigeSettings(trigger_source="Line0"),
            trigger={"mode": "part"},  # type: ignore[arg-type]
        )


def test_the_settings_choose_the_camera() -> None:
    """It is built without Aravis; only opening needs it."""
    source = open_source(SourceSettings(kind="gige", uri=NAME), GigeSettings(gain=1))

    assert (source.name, source.live) == (NAME, True)


def test_a_daemon_rides_out_a_camera_that_is_pulled_and_plugged(
    tmp_path: Path, mosquitto: Mosquitto, camera: Camera
) -> None:
    """Verdicts stop with an event, and resume with new frames."""
    changes = {
        "source.kind": "gige",
        "source.uri": NAME,
        "source.fps": 5,
        "source.read_timeout_s": 1.0,
        "gige.exposure_us": 5000,  # As bright as the demo product usually is.
    }
    with Subscriber(mosquitto.port) as ear, Daemon(tmp_path, mosquitto.port, changes) as daemon:
        ear.wait(lambda ear: len(ear.on("t/verdict")) >= 3)
        camera.end()
        ear.wait(lambda ear: any("camera_lost" in event for event in ear.on("t/event")))
        lost_ms, before = time.time() * 1000, len(ear.on("t/verdict"))
        camera.start()
        ear.wait(lambda ear: len(ear.on("t/verdict")) >= before + 5)
        assert daemon.stop() == 0
        rows = daemon.rows()

    assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1))
    assert all(row["captured_ms"] > lost_ms for row in rows[before + 1 :])
