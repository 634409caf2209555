"""Which cameras can be reached: asked of the machine and of the network."""

from dataclasses import dataclass
from pathlib import Path

from linewatch.acquisition.sources import gige
from linewatch.errors import ConfigError

VIDEO = Path("/sys/class/video4linux")


@dataclass(frozen=True, slots=True)
class Camera:
    """One camera: what to write as source.kind and source.uri, and what it calls itself."""

    kind: str
    uri: str
    text: str


def cameras(video: Path = VIDEO) -> tuple[list[Camera], list[str]]:
    """Return the cameras of this machine and its network, and what could not be looked for."""
    found = [
        Camera("camera", f"/dev/{device.name}", (device / "name").read_text(encoding="utf-8").strip())
        for device in sorted(video.glob("video*"))
        if (device / "name").is_file()
    ]
    try:
        answering = gige.reachable()
    except ConfigError as trouble:
        return found, [f"not looked for: {trouble}"]
    return found + [
        Camera("gige", camera.id, f"{camera.vendor} {camera.model} {camera.serial} at {camera.address}")
        for camera in answering
    ], []
