"""Settings from a TOML file, overridden by LINEWATCH_* environment variables; immutable once read."""

import os
import stat
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from linewatch.broker_settings import BrokerSettings, read_secret, without_empty
from linewatch.environment import ENV_PREFIX, did_you_mean, refuse_unknown_variables
from linewatch.errors import ConfigError
from linewatch.plc_settings import ModbusSettings, OpcuaSettings, SparkplugSettings
from linewatch.setting_types import (
    BaseTopic,
    Count,
    Days,
    LanguageCode,
    Name,
    NamedPath,
    Origin,
    PathPrefix,
    Seconds,
    Section,
    is_loopback,
)
from linewatch.shift_settings import ShiftSettings
from linewatch.study_settings import StudySettings
from linewatch.teach_settings import TeachSettings
from linewatch.text_files import NotUtf8Error, read_utf8

DEFAULT_FILE = Path("config/linewatch.toml")


class StationSettings(Section):
    """The station's name and its product at start."""

    name: Name = "station1"
    product: Name = "demo"


class SourceSettings(Section):
    """The camera or other source, and its pace."""

    kind: Literal["folder", "video", "camera", "rtsp", "gige", "simulator"] = "simulator"
    uri: str = ""
    fps: Annotated[float, Field(ge=0, le=1000)] = 10.0
    loop: bool = False
    open_timeout_s: Seconds = 5.0
    read_timeout_s: Seconds = 1.5  # So that the PLC reads FAULT within 2 s.
    width: Annotated[int, Field(ge=0, le=65_535)] = 0  # Of a camera's frames in pixels;
    height: Annotated[int, Field(ge=0, le=65_535)] = 0  # 0 is as the camera has it.
    pixel_format: str = ""  # The fourcc of a USB camera, such as MJPG or YUYV.
    exposure_us: Annotated[float, Field(gt=0)] | None = None  # Of a USB camera.

    @model_validator(mode="before")
    @classmethod
    def _empty_is_none(cls, values: Any) -> Any:
        return without_empty(values, "exposure_us")

    @field_validator("pixel_format")
    @classmethod
    def _fourcc(cls, value: str) -> str:
        if value and not (len(value) == 4 and value.isascii() and value.isprintable()):
            raise ValueError(
                f"{value!r} is not the four characters of a fourcc; write one that linewatch cameras lists, "
                "such as MJPG or YUYV (a GigE Vision camera has gige.pixel_format)"
            )
        return value

    @model_validator(mode="after")
    def _both_sides(self) -> "SourceSettings":
        if bool(self.width) != bool(self.height):
            raise ValueError("width and height belong together; set both, or both to 0")
        return self


class GigeSettings(Section):
    """GigE Vision camera features to set when it is opened; the others stay as they are."""

    exposure_us: Annotated[float, Field(gt=0)] | None = None
    gain: float | None = None
    pixel_format: str = ""  # GenICam name, such as Mono8 or BayerRG8.
    trigger_source: str = ""  # The camera's hardware input, such as Line0; "" is free-running.
    packet_size: Count | None = None  # Bytes; by default the largest that gets through.

    @model_validator(mode="before")
    @classmethod
    def _empty_is_none(cls, values: Any) -> Any:
        return without_empty(values, "exposure_us", "gain", "packet_size")


class TriggerSettings(Section):
    """The trigger of an exposure."""

    mode: Literal["free", "mqtt", "part"] = "free"
    axis: Literal["x", "y"] = "x"  # The belt's direction in the image: x is sideways, y up and down.
    views: Annotated[int, Field(ge=1, le=16)] = 1  # Exposures of each part; the worst result counts.
    background: Path | None = None  # Images of the empty belt; without them it is learnt at start.

    @model_validator(mode="before")
    @classmethod
    def _empty_path_is_none(cls, values: Any) -> Any:
        return without_empty(values, "background")


class ModelsSettings(Section):
    """Folders of models and recipes."""

    path: Path = Path("models")
    recipes: Path = Path("config/recipes")
    threads: Annotated[int, Field(ge=0, le=64)] = 0  # For inference; 0 means all cores but one.
    resident_bytes_max: Annotated[int, Field(ge=0)] = (
        500_000_000  # For models kept loaded besides the active one.
    )
    selftest_every_s: Annotated[float, Field(ge=0, le=86_400)] = (
        3600.0  # Between self-tests while the line runs; 0 is never.
    )


class MqttSettings(BrokerSettings):
    """The MQTT broker between station and PLC."""

    section: ClassVar[str] = "mqtt"

    enabled: bool = True
    base_topic: BaseTopic = "linewatch/station1"


class JournalSettings(Section):
    """The SQLite file of all verdicts."""

    path: NamedPath = Path("var/journal.db")
    retention_days: Days = 90
    signatures: bool = True  # Keep what `linewatch recall` needs, in a folder beside the journal.
    signatures_bytes_max: Annotated[int, Field(ge=0)] = 20_000_000_000  # 0 is what the disk allows.


class EvidenceSettings(Section):
    """Which images are kept, how they are encoded, and how much room they may take."""

    path: NamedPath = Path("var/evidence")
    pass_every: Annotated[int, Field(ge=0)] = 100  # 0 keeps no PASS at all.
    error_first: Annotated[int, Field(ge=1, le=1000)] = 5  # Frames of ERRORs with one reason, then
    error_every_s: Seconds = 120.0  # one every so often.
    lossless: tuple[
        Literal["PASS", "FAIL", "UNSURE", "ERROR"], ...
    ] = ()  # Results whose frames are PNG; the others are JPEG.
    jpeg_quality: Annotated[int, Field(ge=50, le=100)] = 95  # Of frames, without chroma subsampling.
    queue_bytes_max: Annotated[int, Field(ge=0)] = 100_000_000  # Frames that wait to be written, in memory.
    bytes_max: Annotated[int, Field(ge=0)] = 0  # 0 is what the disk allows.
    free_bytes_min: Annotated[int, Field(ge=0)] = 1_000_000_000
    retention_days: Days = 30


class PromiseSettings(Section):
    """The rates that the station keeps to, and the share of PASS parts that are inspected again."""

    false_rejects_max: Annotated[float, Field(ge=0, le=0.5)] = (
        0.0  # Of good parts; 0: as the model was taught.
    )
    escapes_max: Annotated[float, Field(ge=0, le=0.5)] = 0.0  # Of PASS parts; 0: nothing is promised.
    reinspect_share: Annotated[float, Field(ge=0, le=1)] = 0.0


class HttpSettings(Section):
    """The HTTP server: operator page, metrics, health checks."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    token_file: Path | None = None
    users_file: Path | None = None  # Of users, sessions and tokens; else users.db beside the journal.
    prefix: PathPrefix = ""  # Of a proxy that does not say it.
    frame_ancestors: tuple[Origin, ...] = ()  # That may embed the page.
    language: LanguageCode = "auto"  # Of the page; auto is the browser's.

    @model_validator(mode="before")
    @classmethod
    def _empty_path_is_none(cls, values: Any) -> Any:
        return without_empty(values, "token_file", "users_file")

    def token(self) -> str:
        """Return the token for state-changing requests, "" if there is none.

        Raises ConfigError, and NotThereYet while its file is missing.
        """
        if self.token_file is None:
            return ""
        token = read_secret("http.token_file", self.token_file)
        if not token:
            raise ConfigError(
                f"http.token_file {str(self.token_file)!r} is empty; make one with: "
                f"(umask 077; openssl rand -hex 24 > {self.token_file})"
            )
        return token

    @model_validator(mode="after")
    def _open_address_needs_token(self) -> "HttpSettings":
        if self.token_file is None and not is_loopback(self.host):
            raise ValueError(
                f"host {self.host!r} can be reached from other machines, so it needs http.token_file; "
                "write a long random token into a file and name it, or use host 127.0.0.1"
            )
        return self


class LimitsSettings(Section):
    """Time limits and queue bounds."""

    deadline_ms: Annotated[int, Field(ge=1, le=60_000)] = 200
    frame_age_ms_max: Annotated[int, Field(ge=1, le=60_000)] = 500
    frames_max: Annotated[int, Field(ge=1, le=1000)] = 4
    frames_bytes_max: Annotated[int, Field(ge=1)] = 100_000_000  # Of frames that wait in one lane.
    inspections_max: Annotated[int, Field(ge=1, le=1000)] = 4
    stall_s: Seconds = 10.0  # The process ends when a stage spends longer on one item.
    grace_s: Seconds = 5.0  # How long a stop waits for history to be delivered.


class Settings(BaseSettings):
    """All settings of `config/linewatch.toml` and the environment. Read them with `load`."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    station: StationSettings = StationSettings()
    source: SourceSettings = SourceSettings()
    gige: GigeSettings = GigeSettings()
    trigger: TriggerSettings = TriggerSettings()
    models: ModelsSettings = ModelsSettings()
    mqtt: MqttSettings = MqttSettings()
    modbus: ModbusSettings = ModbusSettings()
    opcua: OpcuaSettings = OpcuaSettings()
    sparkplug: SparkplugSettings = SparkplugSettings()
    journal: JournalSettings = JournalSettings()
    evidence: EvidenceSettings = EvidenceSettings()
    promise: PromiseSettings = PromiseSettings()
    teach: TeachSettings = TeachSettings()
    shifts: ShiftSettings = ShiftSettings()
    study: StudySettings = StudySettings()
    http: HttpSettings = HttpSettings()
    limits: LimitsSettings = LimitsSettings()

    @model_validator(mode="after")
    def _limits_fit(self) -> "Settings":
        """Refuse time-outs that would let a silent camera count as a stalled stage."""
        for key in ("open_timeout_s", "read_timeout_s"):
            if getattr(self.source, key) >= self.limits.stall_s:
                raise ValueError(f"source.{key} must be below limits.stall_s ({self.limits.stall_s:g})")
        return self

    @model_validator(mode="after")
    def _one_trigger(self) -> "Settings":
        """Refuse a hardware trigger together with trigger.mode "part", which needs every frame."""
        if self.hardware_triggered and self.trigger.mode == "part":
            raise ValueError(
                'trigger.mode "part" has to see every frame; use "free" with gige.trigger_source'
            )
        return self

    @property
    def users_file(self) -> Path:
        """The file of users, sessions and tokens: beside the journal unless http.users_file names another."""
        return self.http.users_file or self.journal.path.with_name("users.db")

    @property
    def opcua_folder(self) -> Path:
        """The folder of the OPC UA server's certificates: opcua.folder, else opcua beside the journal."""
        return self.opcua.folder or self.journal.path.with_name("opcua")

    @property
    def sparkplug_file(self) -> Path:
        """The file of the number of the last Sparkplug session, beside the journal."""
        return self.journal.path.with_name("sparkplug-session")

    @property
    def shifts_folder(self) -> Path:
        """The folder of the reports of past shifts, beside the journal."""
        return self.journal.path.with_name("shifts")

    @property
    def hardware_triggered(self) -> bool:
        """Whether the camera's hardware input triggers exposures."""
        return self.source.kind == "gige" and bool(self.gige.trigger_source)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - pydantic-settings defines the signature
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Give the environment priority over the file, whose tables arrive as keyword arguments."""
        return env_settings, init_settings


def load(path: Path | None, instead: Mapping[str, Any] = MappingProxyType({})) -> Settings:
    """Read settings from `path`, then from the environment.

    None means `config/linewatch.toml` if it exists, else the defaults. Tables in `instead` replace
    those of the file. Raises ConfigError with one sentence that names the file or variable, the
    key and what to write instead.
    """
    if path is None:
        path = DEFAULT_FILE if DEFAULT_FILE.exists() else None
    tables = {} if path is None else _read_toml(path)
    for section in ("mqtt", "sparkplug"):
        table = tables.get(section)
        if path is not None and isinstance(table, dict) and table.get("password"):
            _refuse_open_password(path, section)
    refuse_unknown_variables(os.environ, keys())
    try:
        return Settings(**(tables | dict(instead)))
    except ValidationError as error:
        raise ConfigError(_sentence(error, path)) from error


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_utf8(path))
    except FileNotFoundError as error:
        raise ConfigError(
            f"settings file {str(path)!r} does not exist; name another with --config"
        ) from error
    except (OSError, NotUtf8Error) as error:
        raise ConfigError(f"settings file {str(path)!r} cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"settings file {str(path)!r} is not valid TOML: {error}") from error


def _refuse_open_password(path: Path, section: str) -> None:
    if path.stat().st_mode & stat.S_IROTH:
        raise ConfigError(
            f"{path}: {section}.password stands in a file that every user of this machine can read; "
            f"write it into a file of its own and name that in {section}.password_file, or: chmod o-r {path}"
        )


def keys() -> Iterator[str]:
    """Yield every setting as `section.key`."""
    for section, info in Settings.model_fields.items():
        table = info.annotation
        assert isinstance(table, type) and issubclass(table, Section), section
        for key in table.model_fields:
            yield f"{section}.{key}"


def _sentence(error: ValidationError, path: Path | None) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "settings"
    variable = ENV_PREFIX + where.upper().replace(".", "__")
    origin = (
        f"environment variable {variable}"
        if variable in map(str.upper, os.environ)
        else f"{path or 'defaults'}: {where}"
    )
    if first["type"] == "extra_forbidden":
        section = where.rpartition(".")[0]
        known = {k for k in keys() if k.startswith(section)} if section else set(Settings.model_fields)
        return f"{origin} is not a setting{did_you_mean(where, known)}"
    what = first["msg"].removeprefix("Value error, ")
    rest = error.error_count() - 1
    return f"{origin}: {what[0].lower()}{what[1:]}" + (f" (and {rest} more)" if rest else "")
