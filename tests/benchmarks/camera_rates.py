"""Run the daemon at the rates of real cameras: frames from memory and from folders of PNG files.

    python -m tests.benchmarks.camera_rates [--seconds 20]

4.2 megapixels at 10 a second from memory with 2, 50 and 100 % rejects and with a dirty lens; 5 megapixels
at 5 and 12 at 3 a second from PNG files with 50 and 100 % rejects. Latency is measured by a subscriber.
Evidence, journal and PNG files are in the system's temporary folder: TMPDIR chooses the disk.
"""

import argparse
import os
import tempfile
from pathlib import Path

import cv2

from linewatch.acquisition.sources.simulator.source import Simulator
from linewatch.cli import bench
from linewatch.cli.bench_frames import (
    SCENARIOS,
    Row,
    Scenario,
    frames_table,
    paced,
    resize_model,
    with_source,
)
from linewatch.settings import load

CONFIG = Path("config/bench.toml")
FROM_MEMORY = (4.2, 10.0)  # Megapixels, and parts per second.
FROM_PNG = ((5.0, 5.0), (12.0, 3.0))
FILES = 12


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.camera_rates")
    parser.add_argument("--seconds", type=float, default=20.0, help="measured time of each row")
    seconds = parser.parse_args().seconds
    settings = load(CONFIG)
    rows: list[Row] = []
    with (
        tempfile.TemporaryDirectory(prefix="linewatch-rates-") as scratch,
        bench.run_broker(Path(scratch)) as (_, port),
    ):
        folder = Path(scratch)
        size, fps = FROM_MEMORY
        side = round((size * 1e6) ** 0.5)
        resized = resize_model(settings, folder / "memory", side)
        for number, scenario in enumerate(SCENARIOS[1:]):
            shown = with_source(resized, "simulator", f"seed=5&enlarge={side}&{scenario.uri}")
            row = paced(shown, CONFIG, folder / f"memory{number}", port, fps, seconds)
            rows.append(_labels("memory", size, scenario) | row)
        os.environ["LINEWATCH_SOURCE__KIND"] = "folder"  # The settings file names the simulator.
        for size, fps in FROM_PNG:
            side = round((size * 1e6) ** 0.5)
            resized = resize_model(settings, folder / f"png{size:g}", side)
            for scenario in SCENARIOS[2:4]:
                place = folder / f"png{size:g}" / scenario.name.split()[0]
                _write_png(place / "parts", side, scenario.uri)
                row = paced(
                    with_source(resized, "folder", str(place / "parts")), CONFIG, place / "run", port, fps
                )
                rows.append(_labels("PNG files", size, scenario) | row)
    print(frames_table(rows, settings.limits.deadline_ms))


def _labels(source: str, megapixels: float, scenario: Scenario) -> Row:
    return {"source": source, "megapixels": megapixels, "parts": scenario.name}


def _write_png(folder: Path, side: int, uri: str) -> None:
    folder.mkdir(parents=True)
    with Simulator(f"seed=5&pool={FILES}&enlarge={side}&{uri}") as source:
        for number in range(FILES):
            frame = source.read()
            assert frame is not None and frame.image is not None
            cv2.imwrite(str(folder / f"{number:03}.png"), frame.image, (cv2.IMWRITE_PNG_COMPRESSION, 1))
    os.sync()  # Else the disk writes these while the journal's commits are measured.


if __name__ == "__main__":
    main()
