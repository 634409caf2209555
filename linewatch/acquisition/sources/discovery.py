"""Find the cameras of this machine and its network, and what they offer."""

import fcntl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from linewatch.acquisition.sources import gige, v4l2
from linewatch.errors import ConfigError

DEV = Path("/dev")
LINKS = ("v4l/by-id", "v4l/by-path")
"""udev's names: of the camera, then of its socket, for cameras of one type without a serial number."""


@dataclass(frozen=True, slots=True)
class Camera:
    """One camera: the values of source.kind and source.uri, and a description."""

    kind: str
    uri: str
    text: str
    offers: tuple[str, ...] = ()  # Pixel formats, frame sizes and rates as lines for people.


def find_cameras(dev: Path = DEV, ioctl: v4l2.Ioctl = fcntl.ioctl) -> tuple[list[Camera], list[str]]:
    """Return the cameras that answer, and a note on each device or kind that could not be queried."""
    found, notes = [], []
    links = _stable_links(dev)
    for node in sorted(dev.glob("video*"), key=lambda node: (len(node.name), node.name)):
        try:
            device = v4l2.query(node, ioctl)
        except OSError as error:
            notes.append(
                f"{node}: {error.strerror or error}; is this user in the group video, and is it a camera?"
            )
            continue
        if device is not None:
            text = f"{device.name}, {node}, {device.bus}"
            uri = str(links.get(node.resolve(), node))
            found.append(Camera("camera", uri, text, tuple(_offers(device))))
    try:
        answering = gige.find_devices()
    except ConfigError as error:
        return found, [*notes, f"not searched for: {error}"]
    return found + [
        Camera("gige", device.id, f"{device.vendor} {device.model} {device.serial} at {device.address}")
        for device in answering
    ], notes


def _stable_links(dev: Path) -> dict[Path, Path]:
    """Return device node -> a path that stays the same after a restart and in another order of plugging."""
    links: dict[Path, Path] = {}
    for folder in LINKS:
        for link in sorted((dev / folder).glob("*")):
            links.setdefault(link.resolve(), link)
    return links


def _offers(device: v4l2.VideoDevice) -> Iterator[str]:
    for pixel_format in device.formats:
        yield f'pixel_format = "{pixel_format.fourcc}"  # {pixel_format.description}'
        for size in sorted(pixel_format.sizes, key=lambda size: (-size.width * size.height, -size.width)):
            text = f"  width = {size.width}, height = {size.height}"
            if size.smallest is not None:
                text += f", or any size down to {size.smallest[0]}x{size.smallest[1]}"
            if size.rates:
                rates = ", ".join(f"{rate:g}" for rate in size.rates)
                text += f"  # {rates} frames a second"
            yield text
