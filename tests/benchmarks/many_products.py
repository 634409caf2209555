"""Measure changeover, metrics and pages of a station with one product and with fifty.

    python -m tests.benchmarks.many_products [--products 1 50] [--resident 20] [--seconds 10]

Every product is a copy of the demo model with weights of its own, in two versions. A daemon runs the
simulated line at 10 parts a second with mosquitto beside it. Printed for each number of products: start,
pages and API calls (also right after the cached list of products has expired), verdict latency while these
are requested, changeover to products that were never loaded and back to `--resident` loaded ones, memory.
Times are the median and the 95th percentile.
"""

import argparse
import json
import statistics
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

from linewatch.models.bundle import WEIGHTS, read_bundle, set_active, write_bundle
from linewatch.runtime.atomic_files import copy_tree
from tests.daemon import ROOT, Daemon
from tests.mosquitto import Mosquitto, Subscriber

PAGES = (
    "/",
    "/history",
    "/review",
    "/products",
    "/inspect",
    "/metrics",
    "/readyz",
    "/api/state",
    "/live.jpg",
)
EXPIRED_S = 5.5  # The pages cache the list of products for 5 s.
VERSIONS = 2
WARM_UP_S = 3.0


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--products", type=int, nargs="+", default=[1, 50])
    parser.add_argument("--resident", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    columns = []
    for count in options.products:
        with tempfile.TemporaryDirectory() as folder:
            columns.append(measure(Path(folder), count, options.resident, options.seconds))
    print("| measured | " + " | ".join(f"{count} products" for count in options.products) + " |")
    print("|---|" + "---|" * len(columns))
    for name in dict.fromkeys(name for column in columns for name in column):
        print(f"| {name} | " + " | ".join(column.get(name, "") for column in columns) + " |")


def measure(folder: Path, count: int, resident: int, seconds: float) -> dict[str, str]:
    """Return what one daemon with `count` products shows, in print."""
    products = list(make_products(folder, count))
    broker = Mosquitto(folder)
    broker.start()
    changes = {
        "station.product": products[0],
        "source.uri": "defects=0.1",
        "source.fps": 10,
        "models.path": str(folder / "models"),
        "models.recipes": str(folder / "recipes"),
        "models.resident_bytes_max": 1_000_000_000,
        "limits.deadline_ms": 200,
        "limits.frame_age_ms_max": 500,
    }
    found: dict[str, str] = {}
    started = time.monotonic()
    try:
        with Subscriber(broker.port) as ear, Daemon(folder, broker.port, changes) as daemon:
            ear.wait(lambda ear: bool(ear.on("t/verdict")))
            found["start to first verdict"] = f"{time.monotonic() - started:.1f} s"
            time.sleep(WARM_UP_S)
            found |= measure_pages(ear, daemon.address, seconds)
            some = products[1 : resident + 1] or products
            first = [change(ear, number, name) for number, name in enumerate(some, 1)]
            back = [change(ear, number, name) for number, name in enumerate(some, 1000)]
            found["changeover, first time"] = spread(first)
            found["changeover, resident"] = spread(back)
            found["resident memory"] = f"{memory_bytes(daemon.process.pid) / 1e6:.0f} MB"
            assert daemon.stop() == 0
    finally:
        broker.stop()
    return found


def make_products(folder: Path, count: int) -> Iterator[str]:
    """Write models and recipes; yield their names."""
    demo = read_bundle(ROOT / "models", "demo")
    (folder / "recipes").mkdir()
    for index in range(1, count + 1):
        product = f"product{index:02}"
        for version in range(VERSIONS):
            content = folder / "content"
            copy_tree(demo.folder, content)
            (content / "manifest.json").unlink()
            weights = bytearray((content / WEIGHTS).read_bytes())
            weights[-2] ^= 1 + version * 2  # The last bits of one number of many.
            weights[-4] ^= index
            (content / WEIGHTS).write_bytes(weights)
            bundle = write_bundle(
                folder / "models",
                product,
                created=f"2026-11-{version + 1:02}T00:00:00+00:00",
                input_shape=demo.input_shape,
                registration=demo.registration,
                calibration=demo.calibration,
                pictures=demo.pictures,
                golden=demo.golden,
                training=demo.training,
                content=content,
                likeness=demo.likeness,
            )
        set_active(folder / "models", product, bundle.version)
        (folder / "recipes" / f"{product}.toml").write_text(f"index = {index}\n")
        yield product


def measure_pages(ear: Subscriber, address: str, seconds: float) -> dict[str, str]:
    """Return the times of every page, then the latency of verdicts without and with these requests."""
    found = {}
    quiet = latencies(ear, seconds)
    stop = threading.Event()
    times: dict[str, list[float]] = {page: [] for page in PAGES}
    sizes: dict[str, int] = {}

    def request_all() -> None:
        while not stop.is_set():
            for page in PAGES:
                took_s, sizes[page] = fetch(address + page)
                times[page].append(took_s)

    visitor = threading.Thread(target=request_all)
    visitor.start()
    busy = latencies(ear, seconds)
    stop.set()
    visitor.join()
    for page in PAGES:
        found[f"GET {page}"] = f"{spread(times[page])}, {sizes[page] / 1000:.0f} kB"
    for page in ("/products", "/history"):
        time.sleep(EXPIRED_S)
        found[f"GET {page}, list expired"] = f"{1000 * fetch(address + page)[0]:.0f} ms"
    found["capture to verdict, no requests"] = spread(quiet)
    found["capture to verdict, with requests"] = spread(busy)
    return found


def latencies(ear: Subscriber, seconds: float) -> list[float]:
    """Return the latency of each verdict of the next seconds."""
    before = len(ear.on("t/verdict"))
    time.sleep(seconds)
    return [json.loads(payload)["latency_ms"] / 1000 for payload in ear.on("t/verdict")[before:]]


def change(ear: Subscriber, rid: int, product: str) -> float:
    """Change over by MQTT; return the time from the command to its reply."""
    topic = "t/cmd/product"
    started = time.monotonic()
    before = len(ear.on(f"{topic}/res"))
    ear.say(topic, json.dumps({"rid": rid, "product": product}))
    ear.wait(lambda ear: len(ear.on(f"{topic}/res")) > before)
    took_s = time.monotonic() - started
    reply = json.loads(ear.on(f"{topic}/res")[-1])
    assert reply["ok"] == 1, reply
    return took_s


def fetch(address: str) -> tuple[float, int]:
    """Return how long one request takes, and the size of its body."""
    started = time.monotonic()
    with urllib.request.urlopen(address, timeout=30) as response:
        size = len(response.read())
    return time.monotonic() - started, size


def spread(times_s: Sequence[float]) -> str:
    """Return median and 95th percentile in milliseconds, in print."""
    quantiles = statistics.quantiles(times_s, n=20) if len(times_s) > 1 else [times_s[0]] * 19
    return f"{1000 * statistics.median(times_s):.0f} / {1000 * quantiles[18]:.0f} ms"


def memory_bytes(pid: int) -> int:
    """Return the resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096


if __name__ == "__main__":
    main()
