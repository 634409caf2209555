import errno
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from linewatch.acquisition.sources import gige, v4l2
from linewatch.acquisition.sources.discovery import find_cameras
from linewatch.errors import ConfigError

CAPTURE, METADATA, DEVICE_CAPS = 0x1, 0x0080_0000, 0x8000_0000


def fourcc(name: str) -> int:
    """Return a pixel format as the kernel writes it: the first character in the lowest byte."""
    return int.from_bytes(name.encode(), "little")


@dataclass
class Node:
    """One device node of a fake driver: what it answers to each ioctl."""

    card: str = "HD Pro Webcam C920"
    bus: str = "usb-0000:00:14.0-2"
    capabilities: int = CAPTURE | METADATA | DEVICE_CAPS  # Of all nodes of the camera.
    device_caps: int = CAPTURE | DEVICE_CAPS  # Of this node.
    formats: list[tuple[str, str]] = field(default_factory=lambda: [("YUYV", "YUYV 4:2:2")])
    sizes: dict[str, list[tuple[int, ...]]] = field(default_factory=dict)  # (w, h), or six of a range.
    intervals: dict[tuple[str, int, int], list[tuple[int, ...]]] = field(default_factory=dict)


class Driver:
    """Answers ioctls on the fake nodes with packed structures, as the kernel does."""

    def __init__(self, folder: Path, **nodes: Node | OSError) -> None:
        self._nodes = {folder / name: node for name, node in nodes.items()}
        for path in self._nodes:
            path.touch()

    def ioctl(self, descriptor: int, request: int, argument: bytearray) -> None:
        """Fill in `argument`, or raise EINVAL when the index is beyond the last item."""
        node = self._nodes[Path(f"/proc/self/fd/{descriptor}").readlink()]
        if isinstance(node, OSError):
            raise node
        argument[:] = self._answer(node, request, bytes(argument))

    def _answer(self, node: Node, request: int, asked: bytes) -> bytes:
        if request == v4l2.QUERYCAP:
            driver, card, bus = b"uvcvideo", node.card.encode(), node.bus.encode()
            return v4l2.CAPABILITY.pack(driver, card, bus, 0x60100, node.capabilities, node.device_caps)
        try:
            if request == v4l2.ENUM_FMT:
                index, kind, *_ = v4l2.FORMAT.unpack(asked)
                assert kind == v4l2.TYPE_CAPTURE
                code, text = node.formats[index]
                return v4l2.FORMAT.pack(index, kind, 0, text.encode(), fourcc(code))
            if request == v4l2.ENUM_FRAMESIZES:
                index, code, *_ = v4l2.SIZE.unpack(asked)
                size = node.sizes[code.to_bytes(4, "little").decode()][index]
                return v4l2.SIZE.pack(index, code, 1 if len(size) == 2 else 3, *_six(size))
            assert request == v4l2.ENUM_FRAMEINTERVALS
            index, code, width, height, *_ = v4l2.INTERVAL.unpack(asked)
            interval = node.intervals[code.to_bytes(4, "little").decode(), width, height][index]
            kind = 1 if len(interval) == 2 else 3
            return v4l2.INTERVAL.pack(index, code, width, height, kind, *_six(interval))
        except (IndexError, KeyError):
            raise OSError(errno.EINVAL, "Invalid argument") from None


def _six(numbers: tuple[int, ...]) -> tuple[int, ...]:
    return numbers + (0,) * (6 - len(numbers))


@pytest.fixture(autouse=True)
def no_aravis(monkeypatch: pytest.MonkeyPatch) -> None:
    """Find no camera of the network: other tests do that."""

    def find() -> list[gige.GigeDevice]:
        raise ConfigError("GigE Vision needs the library Aravis")

    monkeypatch.setattr(gige, "find_devices", find)


def webcam() -> Node:
    """Return a camera with two formats, as a common webcam describes itself."""
    return Node(
        formats=[("YUYV", "YUYV 4:2:2"), ("MJPG", "Motion-JPEG")],
        sizes={"YUYV": [(640, 480), (1920, 1080)], "MJPG": [(1920, 1080)]},
        intervals={
            ("YUYV", 640, 480): [(1, 30), (1, 15)],
            ("YUYV", 1920, 1080): [(1, 5)],
            ("MJPG", 1920, 1080): [(1, 15), (1001, 30000)],
        },
    )


def test_formats_sizes_and_rates_are_read_from_the_driver(tmp_path: Path) -> None:
    """Every enumeration runs until the driver answers EINVAL; rates are frames per second, highest first."""
    driver = Driver(tmp_path, video0=webcam())

    device = v4l2.query(tmp_path / "video0", driver.ioctl)

    assert device is not None
    assert (device.name, device.bus) == ("HD Pro Webcam C920", "usb-0000:00:14.0-2")
    assert device.formats == (
        v4l2.PixelFormat(
            "YUYV",
            "YUYV 4:2:2",
            (v4l2.FrameSize(640, 480, (30.0, 15.0)), v4l2.FrameSize(1920, 1080, (5.0,))),
        ),
        v4l2.PixelFormat("MJPG", "Motion-JPEG", (v4l2.FrameSize(1920, 1080, (29.97, 15.0)),)),
    )


def test_a_range_of_sizes_and_rates_is_read(tmp_path: Path) -> None:
    """A driver may offer every size between two, in steps, and every rate between two."""
    node = Node(
        sizes={"YUYV": [(16, 4096, 2, 16, 3072, 2)]},
        intervals={("YUYV", 4096, 3072): [(1, 60, 1, 1, 1, 60)]},
    )
    device = v4l2.query(tmp_path / "video0", Driver(tmp_path, video0=node).ioctl)

    assert device is not None
    assert device.formats[0].sizes == (v4l2.FrameSize(4096, 3072, (60.0, 1.0), smallest=(16, 16)),)


def test_a_driver_that_enumerates_nothing_is_still_a_camera(tmp_path: Path) -> None:
    """Enumerating frame sizes is optional for drivers; old ones have no capabilities of the node either."""
    node = Node(capabilities=CAPTURE, device_caps=0)

    device = v4l2.query(tmp_path / "video0", Driver(tmp_path, video0=node).ioctl)

    assert device is not None
    assert device.formats == (v4l2.PixelFormat("YUYV", "YUYV 4:2:2", ()),)


@pytest.mark.parametrize(
    "node",
    [
        Node(device_caps=METADATA | DEVICE_CAPS),  # The second node of most USB cameras.
        Node(capabilities=0x2, device_caps=0),  # Video output.
        Node(formats=[]),
    ],
)
def test_a_node_that_captures_no_images_is_no_camera(tmp_path: Path, node: Node) -> None:
    """Only the capabilities of the node count, not those of the whole device."""
    assert v4l2.query(tmp_path / "video0", Driver(tmp_path, video0=node).ioctl) is None


def test_cameras_are_listed_with_a_path_that_stays(tmp_path: Path) -> None:
    """By the name in by-id, else by the socket, else by the node; metadata nodes are left out."""
    dev = tmp_path / "dev"
    for folder in ("v4l/by-id", "v4l/by-path"):
        (dev / folder).mkdir(parents=True)
    metadata = Node(device_caps=METADATA | DEVICE_CAPS)
    driver = Driver(
        dev,
        video0=webcam(),
        video1=metadata,
        video2=Node(card="Twin"),
        video10=Node(card="Virtual", bus="platform:v4l2loopback-000"),
    )
    for link, node in {
        "by-id/usb-046d_C920_A1B2-video-index0": "video0",
        "by-id/usb-046d_C920_A1B2-video-index1": "video1",
        "by-path/pci-0000:00:14.0-usb-0:2:1.0-video-index0": "video0",
        "by-path/pci-0000:00:14.0-usb-0:3:1.0-video-index0": "video2",
    }.items():
        (dev / "v4l" / link).symlink_to(f"../../{node}")

    found, notes = find_cameras(dev, driver.ioctl)

    assert [(camera.kind, camera.uri.removeprefix(f"{dev}/")) for camera in found] == [
        ("camera", "v4l/by-id/usb-046d_C920_A1B2-video-index0"),
        ("camera", "v4l/by-path/pci-0000:00:14.0-usb-0:3:1.0-video-index0"),
        ("camera", "video10"),
    ]
    assert found[0].text == f"HD Pro Webcam C920, {dev}/video0, usb-0000:00:14.0-2"
    assert found[0].offers == (
        'pixel_format = "YUYV"  # YUYV 4:2:2',
        "  width = 1920, height = 1080  # 5 frames a second",
        "  width = 640, height = 480  # 30, 15 frames a second",
        'pixel_format = "MJPG"  # Motion-JPEG',
        "  width = 1920, height = 1080  # 29.97, 15 frames a second",
    )
    assert notes == ["not searched for: GigE Vision needs the library Aravis"]


def test_a_device_that_cannot_be_queried_is_a_note(tmp_path: Path) -> None:
    """A missing right or a broken driver hides no other camera."""
    denied = OSError(errno.EACCES, "Permission denied")
    driver = Driver(tmp_path, video0=denied, video1=Node())

    found, notes = find_cameras(tmp_path, driver.ioctl)

    assert [camera.uri for camera in found] == [f"{tmp_path}/video1"]
    assert notes[0].startswith(f"{tmp_path}/video0: Permission denied; is this user in the group video")


def test_a_machine_without_cameras_lists_none(tmp_path: Path) -> None:
    """A missing folder of links is no error."""
    assert find_cameras(tmp_path)[0] == []
