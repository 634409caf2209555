"""Benchmark the daemon with large frames: sizes x shares of rejects x loads, against the bare engine."""

import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress

from linewatch.acquisition.sources import open_source
from linewatch.cli.bench import (
    MEASURE_S,
    ReceivedVerdict,
    machine,
    receive_verdicts,
    run_broker,
    run_daemon,
    time_engine,
)
from linewatch.domain import Image
from linewatch.models.bundle import Bundle, ImageStatistics, set_active, write_bundle
from linewatch.models.engine import OpenVinoEngine
from linewatch.models.loader import prepare
from linewatch.runtime.atomic_files import copy_tree
from linewatch.settings import Settings
from linewatch.vision.image_quality import brightness, sharpness

MEGAPIXELS = (0.3, 2.0, 5.0, 12.0)
POOL = 8  # Frames in memory; at 12 megapixels each takes 36 MB.
LOADS = (0.5, 2.0)  # Multiples of the rate that the daemon reaches with half of the parts rejected.
THRESHOLD = 1.1  # Between the simulator's enlarged good parts (up to 0.96) and its defects (from 1.28).
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)

Row = dict[str, float | str]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One share of defective parts."""

    name: str
    uri: str


SCENARIOS = (
    Scenario("no rejects", "defects=0"),
    Scenario("2 % rejects", "defects=0.02"),
    Scenario("50 % rejects", "defects=0.5"),
    Scenario("all rejects", "defects=1"),
    Scenario("dirty lens", "defects=0&light=0.05"),
)
HALF_REJECTED = SCENARIOS[2]


def measure_frames(settings: Settings, config: Path, megapixels: Sequence[float] = MEGAPIXELS) -> list[Row]:
    """Run every scenario at every size, about 3 minutes per size. Raises UsageError and LinewatchError.

    Frames are enlarged from the simulator's, with sensor noise, and come from memory; the model gets
    the image statistics of such frames. First the bare engine and the daemon at full speed with
    half of the parts rejected; then every scenario at half and at twice that rate.
    """
    rows: list[Row] = []
    with (
        Progress(console=Console(stderr=True), transient=True) as progress,
        tempfile.TemporaryDirectory(prefix="linewatch-bench-", dir=".") as scratch,
        run_broker(Path(scratch)) as (_, port),
    ):
        folder = Path(scratch)
        task = progress.add_task("", total=len(megapixels) * (1 + len(LOADS) * len(SCENARIOS)))
        for size in megapixels:
            side = round((size * 1e6) ** 0.5)
            sized = resize_model(settings, folder / f"{size:g}", side)
            progress.update(task, description=f"{size:g} megapixels at full speed")
            engine_fps, daemon_fps = _full_speed(sized, config, folder / f"{size:g}", port, side)
            progress.advance(task)
            for load in LOADS:
                for scenario in SCENARIOS:
                    progress.update(task, description=f"{size:g} megapixels, {scenario.name}, load {load:g}")
                    where = folder / f"{size:g}-{load:g}-{scenario.name.split()[0]}"
                    row: Row = {"megapixels": size, "parts": scenario.name, "load": load}
                    row |= _paced(sized, config, where, port, side, scenario, load * daemon_fps)
                    row |= {
                        "engine/s": round(engine_fps, 1),
                        "daemon/engine": round(daemon_fps / engine_fps, 2),
                    }
                    rows.append(row)
                    progress.advance(task)
    return rows


def frames_table(rows: list[Row], deadline_ms: int) -> str:
    """Return the rows as a Markdown table."""
    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(_cell(row[name]) for name in names) + " |" for row in rows]
    return "\n".join([*lines, "", f"late: published after the deadline of {deadline_ms} ms; on {machine()}"])


def _cell(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def resize_model(settings: Settings, folder: Path, side: int) -> Settings:
    """Return settings whose model expects frames of `side` x `side` pixels, as if trained on them."""
    _, bundle = prepare(settings.station.product, settings.models)
    models, recipes = folder / "models", folder / "recipes"
    images = _frames(f"seed=7&defects=0&pool={POOL}&enlarge={side}", settings)
    copy = _with_statistics(bundle, models, images)
    set_active(models, copy.product, copy.version)
    recipes.mkdir(parents=True)
    limits = f"threshold = {THRESHOLD}\nunsure_threshold = {THRESHOLD}\n"
    (recipes / f"{copy.product}.toml").write_text(f"index = 1\n{limits}", encoding="utf-8")
    place = settings.models.model_copy(update={"path": models, "recipes": recipes})
    return settings.model_copy(update={"models": place})


def _with_statistics(bundle: Bundle, models: Path, images: list[Image]) -> Bundle:
    content = models.parent / "content"
    content.parent.mkdir(parents=True, exist_ok=True)
    copy_tree(bundle.folder, content)
    (content / "manifest.json").unlink()
    light, edges = ([measure(image) for image in images] for measure in (brightness, sharpness))
    return write_bundle(
        models,
        bundle.product,
        created=bundle.created,
        input_shape=bundle.input_shape,
        registration=bundle.registration,
        calibration=bundle.calibration,
        pictures=ImageStatistics(_quantiles(light), _quantiles(edges)),
        golden=bundle.golden,
        training=bundle.training,
        content=content,
        likeness=bundle.likeness,
    )


def _quantiles(values: list[float]) -> tuple[float, ...]:
    return tuple(float(value) for value in np.quantile(values, QUANTILES))


def _frames(uri: str, settings: Settings) -> list[Image]:
    with open_source(with_source(settings, "simulator", uri).source) as source:
        frames = [source.read() for _ in range(POOL)]
    return [frame.image for frame in frames if frame is not None and frame.image is not None]


def _full_speed(settings: Settings, config: Path, folder: Path, port: int, side: int) -> tuple[float, float]:
    """Return parts per second of the bare engine and of the daemon, with half of the parts rejected."""
    prepared, bundle = prepare(settings.station.product, settings.models)
    engine = OpenVinoEngine(bundle.graph, threads=settings.models.threads)
    images = _frames(f"seed=5&pool={POOL}&enlarge={side}", settings)
    times = time_engine(engine, bundle, prepared, images)
    shown = with_source(settings, "simulator", f"seed=5&enlarge={side}&{HALF_REJECTED.uri}")
    with run_daemon(shown, config, folder / "full", port, fps=0, pool=POOL):
        verdicts = receive_verdicts(settings, port)
    times += time_engine(engine, bundle, prepared, images)
    return 1 / statistics.mean(times), sum(verdict.judged for verdict in verdicts) / _span_s(verdicts)


def _paced(
    settings: Settings,
    config: Path,
    folder: Path,
    port: int,
    side: int,
    scenario: Scenario,
    fps: float,
) -> Row:
    shown = with_source(settings, "simulator", f"seed=5&enlarge={side}&{scenario.uri}")
    return paced(shown, config, folder, port, fps)


def paced(
    settings: Settings, config: Path, folder: Path, port: int, fps: float, measure_s: float = MEASURE_S
) -> Row:
    """Run the daemon at a rate; return what a subscriber saw, memory and evidence written."""
    folder.parent.mkdir(exist_ok=True)
    with run_daemon(settings, config, folder, port, fps=fps, pool=POOL) as daemon:
        started = time.monotonic()
        verdicts = receive_verdicts(settings, port, measure_s=measure_s)
        took_s = time.monotonic() - started
        status = Path(f"/proc/{daemon.process.pid}/status").read_text(encoding="utf-8")
    memory_kb = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    written = sum(path.stat().st_size for path in (folder / "evidence").rglob("*") if path.is_file())
    latencies_ms = sorted(verdict.latency_ms for verdict in verdicts)
    cuts = statistics.quantiles(latencies_ms, n=100)
    return {
        "parts/s": round(fps, 1),
        "received/s": round(len(verdicts) / _span_s(verdicts), 1),
        "judged/s": round(sum(verdict.judged for verdict in verdicts) / _span_s(verdicts), 1),
        "late": float(sum(verdict.late for verdict in verdicts)),
        "p50 ms": round(cuts[49], 1),
        "p95 ms": round(cuts[94], 1),
        "p99 ms": round(cuts[98], 1),
        "max ms": round(latencies_ms[-1], 1),
        "memory MB": round(memory_kb / 1024),
        "written MB/s": round(written / 1e6 / took_s, 2),
    }


def with_source(settings: Settings, kind: str, uri: str) -> Settings:
    """Return settings with another source."""
    return settings.model_copy(
        update={"source": settings.source.model_copy(update={"kind": kind, "uri": uri})}
    )


def _span_s(verdicts: Sequence[ReceivedVerdict]) -> float:
    """Return the time that the verdicts cover, one average interval included for the last."""
    first, last = verdicts[0].arrived_s, verdicts[-1].arrived_s
    return (last - first) * len(verdicts) / (len(verdicts) - 1)
