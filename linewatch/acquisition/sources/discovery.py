"""Find the cameras of this machine and its network."""

from dataclasses import dataclass
from pathlib import Path

from linewatch.acquisition.sources import gige
from linewatch.errors import ConfigError

VIDEO = Path("/sys/class/video4linux")


@dataclass(frozen=True, slots=True)
class Camera:
    """One camera: the values of source.kind and source.uri, and a description."""

    kind: str
    uri: str
    text: str


def find_cameras(video: Path = VIDEO) -> tuple[list[Camera], list[str]]:
    """Return the cameras that answer, and a note on each kind that could not be searched for."""
    found = [
        Camera("camera", f"/dev/{device.name}", (device / "name").read_text(encoding="utf-8").strip())
        for device in sorted(video.glob("video*"))
        if (device / "name").is_file()
    ]
    try:
        answering = gige.find_devices()
    except ConfigError as error:
        return found, [f"not searched for: {error}"]
    return found + [
        Camera("gige", device.id, f"{device.vendor} {device.model} {device.serial} at {device.address}")
        for device in answering
    ], []
