"""Try everything the daemon will need, before a shift depends on it."""

import json
import os
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from linewatch.acquisition.part_trigger import empty_belt
from linewatch.acquisition.sources import Waiting, open_source
from linewatch.acquisition.triggers import is_triggered
from linewatch.errors import ConfigError, LinewatchError, StorageFull
from linewatch.models.bundle import ACTIVE
from linewatch.models.loader import prepare
from linewatch.models.recipe_file import names, pinned_version, products
from linewatch.models.training_quality import doubts
from linewatch.mqtt.connection import Broker
from linewatch.settings import Settings
from linewatch.web.server import listen

PAGE_S = 2.0  # A page that runs answers within this.
STATE_BYTES_MAX = 10_000

Attempt = Callable[[], str | tuple[str, ...]]
"""Tries one thing; returns what was found, and then what a person should know. Raises LinewatchError."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was tried."""

    what: str
    ok: bool
    text: str
    warnings: tuple[str, ...] = ()  # The line can run, but a person should know.

    def as_dict(self) -> dict[str, object]:
        """Return it for JSON."""
        return asdict(self)


def check(settings: Settings) -> list[Finding]:
    """Try models, source, broker, disk and page; never changes anything that the daemon uses."""
    return [_try(what, attempt) for what, attempt in _attempts(settings)]


def _attempts(settings: Settings) -> Iterator[tuple[str, Attempt]]:
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


def _try(what: str, attempt: Attempt) -> Finding:
    try:
        said = attempt()
    except LinewatchError as trouble:
        return Finding(what, False, str(trouble))
    text, *warnings = (said,) if isinstance(said, str) else said
    return Finding(what, True, text, tuple(warnings))


def _products(settings: Settings) -> list[str]:
    """Return every product with a recipe, and the one that is inspected after start."""
    known = names(settings.models.recipes)
    return known if settings.station.product in known else [*known, settings.station.product]


def _trigger(settings: Settings) -> str:
    if is_triggered(settings):
        return "by MQTT"
    if settings.trigger.mode == "free":
        return "free-running"
    empty_belt(settings.trigger)
    return "by each part that passes the middle of the picture"


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
    return found, *doubts(bundle)


def _source(settings: Settings) -> str:
    with open_source(settings.source, settings.gige) as source:
        try:
            frame = source.read()
        except Waiting:
            return f"{source.name} answers, and waits for its trigger"
        if frame is None or frame.image is None:
            raise LinewatchError(f"source {source.name!r} gives no picture; check source.uri")
        height, width = frame.image.shape[:2]
        return f"{source.name} gives {width}x{height} pixels"


def _broker(settings: Settings) -> tuple[str, ...]:
    if not settings.mqtt.enabled:
        return ("switched off",)
    broker = Broker(settings.mqtt, f"linewatch-{settings.station.name}-check")
    with broker.connect() as session:
        found = f"{broker.address} speaks MQTT {'5' if session.mqtt5 else '3.1.1'}"
    secrets = {"mqtt.password_file": settings.mqtt.password_file, "mqtt.tls_key": settings.mqtt.tls_key}
    return found, *_exposed(secrets)


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
    if http.port:  # 0 is any free one.
        try:
            listen(http.host, http.port).close()
        except ConfigError:
            if not _answers(settings):
                raise
            found = f"{http.host}:{http.port} is this station's page, which runs, {token}"
    return found, *_exposed({"http.token_file": http.token_file})


def _answers(settings: Settings) -> bool:
    """Whether the page that has the port is this station's own: its daemon may run meanwhile."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.http.host, settings.http.host)
    page = HTTPConnection(host, settings.http.port, timeout=PAGE_S)
    try:
        page.request("GET", "/api/state")
        state = json.loads(page.getresponse().read(STATE_BYTES_MAX))
    except (OSError, HTTPException, ValueError):
        return False
    finally:
        page.close()
    return isinstance(state, dict) and state.get("station") == settings.station.name


def _exposed(secrets: Mapping[str, Path | None]) -> Iterator[str]:
    """Yield which files with secrets every user of this machine can read, by the settings that name them."""
    for setting, path in secrets.items():
        # The group's bit says nothing: systemd's credentials have it set by their access list.
        if path is not None and path.stat().st_mode & stat.S_IROTH:
            yield f"{setting} {str(path)!r} can be read by every user of this machine; chmod 600 {path}"
