"""Measure the cost of a trial model, and verify the trial report against the journal.

    python -m tests.benchmarks.trial PRODUCT VERSION --models DIR --recipes DIR --parts DIR
        [--seconds S] [--fps N]

Runs the daemon twice on the same looping images, without and with the trial, on a copy of the models.
"""

import argparse
import shutil
import sqlite3
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

from linewatch.cli.inspect_files import inspect_files
from linewatch.models.bundle import set_trial
from linewatch.settings import JournalSettings, ModelsSettings, Settings
from linewatch.teach.trial_report import report, table
from tests.daemon import Daemon
from tests.mosquitto import Mosquitto


def main() -> None:
    """Print both latencies and the recount."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.trial")
    parser.add_argument("product")
    parser.add_argument("version")
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--recipes", type=Path, required=True)
    parser.add_argument("--parts", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--fps", type=float, default=10.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="linewatch-trial-") as name:
        folder = Path(name)
        models = folder / "models"
        shutil.copytree(options.models / options.product, models / options.product)
        broker = Mosquitto(folder, "set_tcp_nodelay true")
        broker.start()
        try:
            latencies = {}
            for trial in ("", options.version):
                set_trial(models, options.product, trial)
                latencies[trial] = run(folder, models, broker, options)
        finally:
            broker.stop()
        for trial, values in latencies.items():
            p50, p95 = np.quantile(values, (0.5, 0.95))
            print(f"{'with' if trial else 'no'} trial: {len(values)} parts, {p50:.0f} ms, p95 {p95:.0f} ms")
        without, with_trial = (float(np.quantile(values, 0.95)) for values in latencies.values())
        print(f"p95 ratio {with_trial / without:.2f}")
        recount(folder, models, options)


def run(folder: Path, models: Path, broker: Mosquitto, options: argparse.Namespace) -> list[int]:
    """Run the daemon for `--seconds`; return the latencies of the judged parts in ms."""
    changes: dict[str, object] = {
        "station.product": options.product,
        "source.kind": "folder",
        "source.uri": options.parts,
        "source.loop": "true",
        "source.fps": options.fps,
        "models.path": models,
        "models.recipes": options.recipes,
    }
    with Daemon(folder, broker.port, changes) as daemon:
        time.sleep(options.seconds)
        assert daemon.stop() == 0
        boot = max(row["boot"] for row in daemon.rows())
        judged = [row for row in daemon.rows() if row["boot"] == boot and row["result"] != "ERROR"]
    return [row["latency_ms"] for row in judged]


def recount(folder: Path, models: Path, options: argparse.Namespace) -> None:
    """Compare the trial report with the journal, and the trial's verdicts with those of `inspect`."""
    settings = Settings(
        models=ModelsSettings(path=models, recipes=options.recipes),
        journal=JournalSettings(path=folder / "journal.db"),
    )
    found = report(settings, options.product, options.version, 100_000)
    print(table(found))
    with sqlite3.connect(f"file:{folder / 'journal.db'}?mode=ro", uri=True) as db:
        pairs = db.execute(
            "SELECT v.part, v.result, c.trial_result FROM comparisons c JOIN verdicts v USING (boot, seq)"
        ).fetchall()
    (models / options.product / "active").write_text(options.version + "\n")
    names = sorted({part for part, _, _ in pairs})
    inspected = inspect_files(
        options.product, [options.parts / name for name in names], models, options.recipes
    )
    trial = {name: verdict["result"] for name, verdict in zip(names, inspected, strict=True)}
    wrong = sum(trial[part] != result for part, _, result in pairs)
    counted = Counter((live, trial[part]) for part, live, _ in pairs)
    same = counted == {(str(a), str(b)): number for (a, b), number in found.counts.items()}
    print(f"recount: {wrong} of {len(pairs)} trial results differ, counts {'agree' if same else 'DIFFER'}")


if __name__ == "__main__":
    main()
