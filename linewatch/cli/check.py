"""Check everything the daemon needs before a shift depends on it."""

import os
import socket
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from linewatch.acquisition.part_trigger import empty_belt
from linewatch.acquisition.sources import AwaitingTrigger, open_source
from linewatch.acquisition.sources.usb_camera import UsbCamera
from linewatch.acquisition.trigger_mode import is_triggered
from linewatch.cli.running import read_state
from linewatch.domain import Image
from linewatch.errors import BrokerLost, ConfigError, LinewatchError, RecipeError, StorageFull
from linewatch.models.bundle import ACTIVE
from linewatch.models.loader import prepare
from linewatch.models.recipe_file import load_recipe, names, pinned_version, products
from linewatch.models.training_quality import training_warnings
from linewatch.mqtt.broker import Broker
from linewatch.mqtt.messages import Incoming, Message, Topics, event_json
from linewatch.people.people import People
from linewatch.plc.modbus.server import listen as listen_modbus
from linewatch.plc.modbus.server import load_codec
from linewatch.plc.opcua.server import listen as listen_opcua
from linewatch.plc.opcua.server import load_certificates
from linewatch.plc.sparkplug.edge_node import NodeTopics, require_protobuf
from linewatch.plc.sparkplug.host import PrimaryHost
from linewatch.settings import MqttSettings, Settings
from linewatch.storage.evidence import DAY_S
from linewatch.storage.forecast import (
    REJECT_SHARE,
    ROW_BYTES,
    expected_per_day,
    recorded_per_day,
    room_bytes,
)
from linewatch.storage.journal_reader import JournalFile, JournalReader
from linewatch.vision.image_io import read_mask
from linewatch.vision.regions import check_in_frame
from linewatch.vision.scoring import check_mask, cut_roi
from linewatch.web.server import listen

ECHO_S = 1.0  # For a broker to send back what was published.

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
    frames: list[Image] = []  # What the source gives, for the forecast of evidence.
    yield "source", lambda: _source(settings, frames)
    yield "area", lambda: _area(settings, frames)
    yield "broker", lambda: _broker(settings)
    if settings.modbus.enabled:
        yield "modbus", lambda: _modbus(settings)
    if settings.opcua.enabled:
        yield "opcua", lambda: _opcua(settings)
    if settings.sparkplug.enabled:
        yield "sparkplug", lambda: _sparkplug(settings)
    yield "journal", lambda: _journal(settings)
    yield "evidence", lambda: _evidence(settings, frames)
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
        links = {
            "MQTT": settings.mqtt.enabled,
            "Modbus": settings.modbus.enabled,
            "OPC UA": settings.opcua.enabled,
        }
        return f"by {' or '.join(name for name, enabled in links.items() if enabled)}"
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


def _source(settings: Settings, frames: list[Image]) -> tuple[str, ...]:
    with open_source(settings.source, settings.gige) as source:
        try:
            frame = source.read()
        except AwaitingTrigger:
            return (f"{source.name} answers and waits for its trigger",)
        if frame is None or frame.image is None:
            raise LinewatchError(f"source {source.name!r} gives no image; check source.uri")
        frames.append(frame.image)
        height, width = frame.image.shape[:2]
        found = f"{source.name} gives {width}x{height} pixels"
        if isinstance(source, UsbCamera):
            return f"{found}, {source.delivers}", *map(str, source.refusals)
        return (found,)


def _area(settings: Settings, frames: list[Image]) -> str:
    """Check that what the recipe says about the frame fits the source's."""
    if not frames:
        return "not compared with a frame: there is none"
    try:
        recipe, _ = load_recipe(settings.models.recipes, settings.station.product, settings.models.path)
    except RecipeError:
        return "not known: see the product's line"
    frame = frames[0]
    cut_roi(frame, recipe.roi)
    if recipe.mask is not None:
        check_mask(recipe.mask, read_mask(recipe.mask), frame)
    check_in_frame(recipe.regions, frame.shape)
    area = "the whole frame" if recipe.roi is None else f"roi {list(recipe.roi)}"
    regions = ", ".join(region.name for region in recipe.regions)
    return f"{area}{', with a mask' if recipe.mask else ''}{f', regions {regions}' if regions else ''}"


def _broker(settings: Settings) -> tuple[str, ...]:
    if not settings.mqtt.enabled:
        return ("switched off",)
    topics, client_id = Topics(settings.mqtt.base_topic), f"linewatch-{settings.station.name}-check"
    event = Message(topics.event, event_json({"v": 1, "station": settings.station.name, "event": "check"}))
    with Broker(settings.mqtt, client_id).connect() as session:
        found = f"{settings.mqtt.host}:{settings.mqtt.port} speaks MQTT {'5' if session.mqtt5 else '3.1.1'}"
        session.subscribe(topics.commands)
        with _echo(settings.mqtt, f"{client_id}-echo", event.topic) as came_back:
            session.publish_all([event])  # As the daemon does; a refusal is a failed check.
            warnings = [] if came_back() else [_NO_ECHO.format(topic=event.topic)]
    secrets = {"mqtt.password_file": settings.mqtt.password_file, "mqtt.tls_key": settings.mqtt.tls_key}
    return found, *warnings, *_world_readable(secrets)


def _modbus(settings: Settings) -> str:
    load_codec()
    modbus = settings.modbus
    clients = ", ".join(modbus.clients) or "programs on this machine"
    found = f"{modbus.host}:{modbus.port}, for {clients}"
    return found + _in_use(settings, lambda: listen_modbus(modbus))


def _opcua(settings: Settings) -> tuple[str, ...]:
    opcua = settings.opcua
    certificates = load_certificates(opcua, settings.opcua_folder)
    found = f"{opcua.endpoint}, {certificates.describe()}"
    found += _in_use(settings, lambda: listen_opcua(opcua))
    if opcua.is_local:
        return (f"{found}; for programs on this machine, also without a certificate",)
    trusted, warnings = certificates.count_trusted(), []
    if not trusted:
        warnings.append(
            f"no client is trusted yet; put its certificate (DER or PEM) into {certificates.trusted_folder}; "
            "one that tried is in refused/ beside it"
        )
    people = People(settings.users_file)
    if not people.has_users() and not people.tokens():
        warnings.append(
            "no client can sign in yet; add a user or a machine's token (linewatch users token NAME)"
        )
    return f"{found}; {trusted} trusted clients", *warnings


def _in_use(settings: Settings, listen_there: Callable[[], socket.socket]) -> str:
    """Return what to add if this station's daemon has the address. Raises LinewatchError for another one."""
    try:
        listen_there().close()
    except LinewatchError:
        if not read_state(settings):  # Its daemon is running.
            raise
        return "; in use, and this station's daemon is running"
    return ""


def _sparkplug(settings: Settings) -> tuple[str, ...]:
    """Connect without a will and listen; a birth would end the one of a daemon that runs."""
    require_protobuf()
    sparkplug, host = settings.sparkplug, PrimaryHost()
    topics = NodeTopics(sparkplug, settings.station.name)
    heard: list[Incoming] = []
    client_id = f"linewatch-{settings.station.name}-sparkplug-check"
    with Broker(sparkplug, client_id).connect(heard.append) as session:
        found = f"{sparkplug.address} speaks MQTT {'5' if session.mqtt5 else '3.1.1'}, node {topics.node}"
        session.subscribe(topics.commands)
        if topics.host:
            session.subscribe(topics.host)
            until = time.monotonic() + ECHO_S
            while not heard and (left_s := until - time.monotonic()) > 0:
                session.pump(left_s)
    for message in heard:
        if message.topic == topics.host:
            host.receive(message.payload)
    warnings = [] if host.online or not topics.host else [_HOST_OFFLINE.format(host=sparkplug.primary_host)]
    secrets = {"sparkplug.password_file": sparkplug.password_file, "sparkplug.tls_key": sparkplug.tls_key}
    return found, *warnings, *_world_readable(secrets)


_HOST_OFFLINE = (
    "the primary host {host!r} is offline, so nothing would be published; start it, or correct "
    "sparkplug.primary_host"
)
_NO_ECHO = (
    "a message to {topic} did not come back, as when the broker's access list denies reading it; "
    "subscribe to it as the PLC does and check again: the event must arrive there"
)


@contextmanager
def _echo(mqtt: MqttSettings, client_id: str, topic: str) -> Iterator[Callable[[], bool]]:
    """Subscribe to a topic; the function waits for a message there and returns whether one came."""
    heard: list[Incoming] = []
    with ExitStack() as stack:
        try:
            session = stack.enter_context(Broker(mqtt, client_id).connect(heard.append))
            session.subscribe(topic)
        except BrokerLost:
            session = None

        def came_back() -> bool:
            until = time.monotonic() + ECHO_S
            with suppress(BrokerLost):
                while session and not heard and (left_s := until - time.monotonic()) > 0:
                    session.pump(left_s)
            return bool(heard)

        yield came_back


def _journal(settings: Settings) -> tuple[str, ...]:
    path, days = settings.journal.path, settings.journal.retention_days
    free_bytes = _disk(path.parent, settings.evidence.free_bytes_min)
    found = f"{path.parent} can be written, {free_bytes / 1e9:.1f} GB free"
    per_day = 0.0
    if path.exists():
        with JournalReader(JournalFile(path)) as reader:
            per_day = reader.growth().bytes_per_day
    if not per_day:
        per_day = (_parts_per_s(settings) or 0.0) * DAY_S * ROW_BYTES
    if not per_day:
        return (found,)
    total = per_day * days
    kept = path.stat().st_size if path.exists() else 0
    found += (
        f"; grows by about {_size(per_day)} a day, "
        f"to {_size(total)} in {days:g} days (journal.retention_days)"
    )
    if total > kept + free_bytes:
        return found, (
            f"the disk holds about {_days((kept + free_bytes) / per_day)} of verdicts; "
            "reduce journal.retention_days or use a larger disk"
        )
    return (found,)


def _evidence(settings: Settings, frames: list[Image]) -> tuple[str, ...]:
    evidence = settings.evidence
    free_bytes = _disk(evidence.path, evidence.free_bytes_min)
    found = f"{evidence.path} can be written, {free_bytes / 1e9:.1f} GB free"
    per_day, basis = recorded_per_day(evidence.path, time.time()), "the present rate"
    parts_per_s = _parts_per_s(settings)
    if not per_day and frames and parts_per_s:
        per_day = expected_per_day(frames[0], parts_per_s, evidence, settings.promise.reinspect_share)
        basis = f"{parts_per_s:g} parts a second and {REJECT_SHARE:.0%} rejects (nothing recorded yet)"
    if not per_day:
        return (f"{found}; nothing recorded yet to tell for how many days",)
    days = room_bytes(evidence) / per_day
    found += f"; holds about {_days(days)} at {basis}"
    if days < evidence.retention_days:
        return found, (
            f"evidence is removed after about {_days(days)}, before evidence.retention_days = "
            f"{evidence.retention_days:g}; keep fewer PASS images (evidence.pass_every) or use a larger disk"
        )
    return (found,)


def _parts_per_s(settings: Settings) -> float | None:
    """Return the rate that the settings state, None where triggers set it or there is no limit."""
    return settings.source.fps if settings.trigger.mode == "free" and settings.source.fps else None


def _days(days: float) -> str:
    return f"{days:.1f} days" if days < 10 else f"{days:.0f} days"


def _size(size: float) -> str:
    unit, factor = ("GB", 1e9) if size >= 1e9 else ("MB", 1e6)
    return f"{size / factor:.1f} {unit}"


def _disk(folder: Path, free_bytes_min: int) -> int:
    """Write into a folder and return the free room in bytes. Raises StorageFull."""
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
    return free_bytes


def _page(settings: Settings) -> tuple[str, ...]:
    http = settings.http
    token = "with a token for changes" if http.token() else "without a token: nothing can be changed"
    found = f"{http.host}:{http.port}, {token}"
    if http.port:  # 0 is any free port.
        try:
            listen(http.host, http.port).close()
        except ConfigError:
            if not read_state(settings):  # Its daemon is running.
                raise
            found = f"{http.host}:{http.port} is this station's page, already running, {token}"
    return found, *_world_readable({"http.token_file": http.token_file})


def _world_readable(secrets: Mapping[str, Path | None]) -> Iterator[str]:
    """Yield a warning for each file with a secret that every user of this machine can read."""
    for setting, path in secrets.items():
        # Not the group's bit: systemd's credentials have it set by their access list.
        if path is not None and path.stat().st_mode & stat.S_IROTH:
            yield f"{setting} {str(path)!r} can be read by every user of this machine; chmod 600 {path}"
