"""Take the screenshots of docs/page.md: every page in light and dark mode, on desktop and phone.

    python -m tests.screenshots [--out docs]

Runs a daemon and a browser. Each page becomes one PNG with a reduced palette, `page-NAME.png`.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as Pillow

from linewatch.acquisition.sources.simulator.source import render
from linewatch.domain import Image
from linewatch.vision.image_io import read_image
from tests.browser import Browser
from tests.daemon import ROOT, Daemon
from tests.mosquitto import Mosquitto

TOKEN = "a-long-random-token"
DESKTOP, PHONE = (1280, 900), (390, 900)
GAP_PX = 24
SCALE = 0.6
COLOURS = 256
DOTS = 50  # In the plot of scores before the first screenshot.


def main() -> None:
    """Take all screenshots."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=ROOT / "docs")
    out = parser.parse_args().out
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "token").write_text(TOKEN)
        cv2.imwrite(str(folder / "part.png"), render(1, 1, "scratch"))
        broker = Mosquitto(folder)
        broker.start()
        changes = {
            "station.name": "cell4",
            "http.token_file": folder / "token",
            "source.fps": 4,
            "source.uri": "defects=0.35&seed=4",
            "evidence.pass_every": 5,
        }
        try:
            with Daemon(folder, broker.port, changes) as daemon, Browser() as browser:
                capture_pages(browser, daemon, folder, out)
        finally:
            broker.stop()


def capture_pages(browser: Browser, daemon: Daemon, folder: Path, out: Path) -> None:
    """Visit each page and save its screenshots in one sheet."""
    browser.look(*DESKTOP)
    browser.open(daemon.address + "/products")
    browser.ask(f"document.querySelector('#token').value = {TOKEN!r}")
    browser.submit(".sign-in button")
    browser.open(daemon.address + "/")
    browser.wait_for(f"document.querySelectorAll('.dot').length >= {DOTS}")

    def visit(path: str) -> Callable[[], None]:
        return lambda: browser.open(daemon.address + path)

    def upload() -> None:
        browser.open(daemon.address + "/inspect")
        browser.choose_file("#image", folder / "part.png")
        browser.submit("main form button[type=submit]")

    reject = next(row for row in reversed(daemon.rows()) if row["result"] == "FAIL")
    pages = {
        "live": visit("/"),
        "inspect": upload,
        "history": visit("/history?result=FAIL%2CUNSURE%2CERROR"),
        "part": visit(f"/history/{reject['boot']}/{reject['seq']}"),
        "review": visit("/review"),
        "products": visit("/products"),
    }
    for name, show in pages.items():
        views = [capture_page(browser, show, folder, dark) for dark in (False, True)]
        save(sheet(views), out / f"page-{name}.png")


def capture_page(browser: Browser, show: Callable[[], None], folder: Path, dark: bool) -> tuple[Image, Image]:
    """Return screenshots of the page at desktop and phone size."""
    shots = []
    for size in (DESKTOP, PHONE):
        browser.look(*size, dark=dark, phone=size == PHONE)
        show()
        wanted = "PASS" if dark else "FAIL"
        browser.wait_for(
            f"document.body.dataset.page !== 'live' || document.querySelector('.tile[data-result={wanted}]')"
        )
        browser.wait_for("[...document.images].every((image) => image.complete)")
        browser.screenshot(folder / "shot.png")
        shots.append(read_image(folder / "shot.png"))
    desktop, phone = shots
    return desktop, phone


def sheet(views: list[tuple[Image, Image]]) -> Image:
    """Arrange the screenshots in one image: light above dark, desktop left of phone."""
    width, height = DESKTOP[0] + PHONE[0] + 3 * GAP_PX, len(views) * (DESKTOP[1] + GAP_PX) + GAP_PX
    canvas = np.full((height, width, 3), 128, np.uint8)
    for row, (desktop, phone) in enumerate(views):
        top = GAP_PX + row * (DESKTOP[1] + GAP_PX)
        canvas[top : top + DESKTOP[1], GAP_PX : GAP_PX + DESKTOP[0]] = desktop
        left = 2 * GAP_PX + DESKTOP[0]
        canvas[top : top + PHONE[1], left : left + PHONE[0]] = phone
    return np.asarray(cv2.resize(canvas, None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_AREA), np.uint8)


def save(image: Image, path: Path) -> None:
    """Write a PNG with 256 colours; the octree method keeps rare ones, which show verdicts."""
    palette_image = Pillow.fromarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
    palette_image.quantize(COLOURS, Pillow.Quantize.FASTOCTREE, dither=Pillow.Dither.NONE).save(
        path, optimize=True
    )
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
