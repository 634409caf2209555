"""Check everything the daemon needs before a shift depends on it."""

import json
import os
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from linewatch.acquisition.part_trigger import empty_belt
from linewatch.acquisition.sources import AwaitingTrigger, open_source
from linewatch.acquisition.sources.usb_camera import UsbCamera
from linewatch.acquisition.triggers import is_triggered
from linewatch.errors import ConfigError, LinewatchError, StorageFull
from linewatch.models.bundle import ACTIVE
from linewatch.models.loader import prepare
from linewatch.models.recipe_file import names, pinned_version, products
from linewatch.models.training_quality import training_warnings
from linewatch.mqtt.connection import Broker
from linewatch.settings import Settings
from linewatch.web.server import listen

PAGE_TIMEOUT_S = 2.0
STATE_BYTES_MAX = 10_000

Check = Callable[[], str | tuple[str, ...]]
"""Checks one thing; returns what was found, followed by warnings. Raises LinewatchError."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check."""

    what: str
    ok: bool
    text: str
    warnings: tuple[str, ...] = ()  # The line can run all the same.

    def as_dict(self) -> dict[str, object]:
        """Return the finding for JSON."""
        return asdict(self)


def check_station(settings: Settings) -> list[Finding]:
    """Check models, source, broker, disk and page; changes nothing that the daemon uses."""
    return [_run(what, check) for what, check in _checks(settings)]


def _checks(settings: Settings) -> Iterator[tuple[str, Check]]:
    yield "settings", lambda: f"station {settings.station.name}, product {settings.station.product}"
    yield "trigger", lambda: _trigger(settings)
    yield "recipes", lambda: _recipes(settings)
    for product in _products(settings):
        yield f"product {product}", lambda product=product: _product(settings, product)  # type: ignore[misc]  # bound now
    yield "source", lambda: _source(settings)
    yield "broker", lambda: _broker(settings)
    for name, path in (("journal", settings.journal.path.parent), ("evidence", settings.evidence.path)):
        yield name, lambda path=path: _disk(path, settings.evidence.free_bytes_min)  # type: ignore[misc]
    yield "page", lambda: _page(settings)


def _run(what: str, check: Check) -> Finding:
    try:
        found = check()
    except LinewatchError as error:
        return Finding(what, False, str(error))
    text, *warnings = (found,) if isinstance(found, str) else found
    return Finding(what, True, text, tuple(warnings))


def _products(settings: Settings) -> list[str]:
    """Return every product with a recipe, and the one inspected after start."""
    known = names(settings.models.recipes)
    return known if settings.station.product in known else [*known, settings.station.product]


def _trigger(settings: Settings) -> str:
    if is_triggered(settings):
        return "by MQTT"
    if settings.trigger.mode == "free":
        return "free-running"
    empty_belt(settings.trigger)
    return "by each part that passes the middle of the image"


def _recipes(settings: Settings) -> str:
    return (
        ", ".join(f"{name} ({index})" for name, index in products(settings.models.recipes).items()) or "none"
    )


def _product(settings: Settings, product: str) -> tuple[str, ...]:
    prepared, bundle = prepare(product, settings.models)
    chosen = "pinned in the recipe" if pinned_version(settings.models.recipes, product) else ACTIVE
    found = (
        f"model {bundle.version} ({chosen}), {len(bundle.files)} files intact, "
        f"{len(bundle.golden)} golden samples as recorded, threshold {prepared.recipe.threshold:.4g}"
    )
    return found, *training_warnings(bundle)


def _source(settings: Settings) -> tuple[str, ...]:
    with open_source(settings.source, settings.gige) as source:
        try:
            frame = source.read()
        except AwaitingTrigger:
            return (f"{source.name} answers and waits for its trigger",)
        if frame is None or frame.image is None:
            raise LinewatchError(f"source {source.name!r} gives no image; check source.uri")
        height, width = frame.image.shape[:2]
        found = f"{source.name} gives {width}x{height} pixels"
        if isinstance(source, UsbCamera):
            return f"{found}, {source.delivers}", *map(str, source.refusals)
        return (found,)


def _broker(settings: Settings) -> tuple[str, ...]:
    if not settings.mqtt.enabled:
        return ("switched off",)
    broker = Broker(settings.mqtt, f"linewatch-{settings.station.name}-check")
    with broker.connect() as session:
        found = f"{broker.address} speaks MQTT {'5' if session.mqtt5 else '3.1.1'}"
    secrets = {"mqtt.password_file": settings.mqtt.password_file, "mqtt.tls_key": settings.mqtt.tls_key}
    return found, *_world_readable(secrets)


def _disk(folder: Path, free_bytes_min: int) -> str:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder) as probe:
            probe.write(b"linewatch")
            probe.flush()
            os.fsync(probe.fileno())
        disk = os.statvfs(folder)
    except OSError as error:
        raise StorageFull(folder, f"{error.strerror}; check permissions and room") from error
    free_bytes = disk.f_bavail * disk.f_frsize
    if free_bytes < free_bytes_min:
        raise StorageFull(
            folder, f"only {free_bytes / 1e9:.1f} GB free; evidence.free_bytes_min asks for more"
        )
    return f"{folder} can be written, {free_bytes / 1e9:.1f} GB free"


def _page(settings: Settings) -> tuple[str, ...]:
    http = settings.http
    token = "with a token for changes" if http.token() else "without a token: nothing can be changed"
    found = f"{http.host}:{http.port}, {token}"
    if http.port:  # 0 is any free port.
        try:
            listen(http.host, http.port).close()
        except ConfigError:
            if not _is_own_page(settings):
                raise
            found = f"{http.host}:{http.port} is this station's page, already running, {token}"
    return found, *_world_readable({"http.token_file": http.token_file})


def _is_own_page(settings: Settings) -> bool:
    """Return whether the port is taken by this station's own page, because its daemon is running."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.http.host, settings.http.host)
    page = HTTPConnection(host, settings.http.port, timeout=PAGE_TIMEOUT_S)
    try:
        page.request("GET", "/api/state")
        state = json.loads(page.getresponse().read(STATE_BYTES_MAX))
    except (OSError, HTTPException, ValueError):
        return False
    finally:
        page.close()
    return isinstance(state, dict) and state.get("station") == settings.station.name


def _world_readable(secrets: Mapping[str, Path | None]) -> Iterator[str]:
    """Yield a warning for each file with a secret that every user of this machine can read."""
    for setting, path in secrets.items():
        # Not the group's bit: systemd's credentials have it set by their access list.
        if path is not None and path.stat().st_mode & stat.S_IROTH:
            yield f"{setting} {str(path)!r} can be read by every user of this machine; chmod 600 {path}"
