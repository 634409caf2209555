"""Take the screenshots of docs/page.md: every page in light and dark mode, on desktop or tablet, and phone.

    python -m tests.screenshots [--out docs] [--only NAME ...]

Runs a daemon and a browser. Each page becomes one PNG with a reduced palette, `page-NAME.png`. The steps of
teaching, the product's pages and those of users are on a tablet; docs/ shows only some of them.
"""

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import date, timedelta
from datetime import time as time_of_day
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as Pillow

from linewatch.acquisition.sources.simulator.source import render
from linewatch.capability import study as studies
from linewatch.capability.shelf import Shelf
from linewatch.capability.study import Judged
from linewatch.domain import Image, State
from linewatch.models.engine import OpenVinoEngine
from linewatch.models.loader import build_scorer
from linewatch.models.recipe_file import load_recipe
from linewatch.people.people import People
from linewatch.people.roles import Role
from linewatch.reporting.calendar import Calendar, Shift
from linewatch.storage.journal import Journal
from linewatch.teach.datasets import Datasets
from linewatch.teach_settings import TeachSettings
from linewatch.training.reports.good_images import write_good_images
from linewatch.vision.image_io import read_image
from linewatch.web.teach.pages import STEPS
from tests.browser import Browser
from tests.daemon import ROOT, Daemon
from tests.mosquitto import Mosquitto
from tests.shift_journal import HOUR_MS, fill, keep_frame, produce

TOKEN = "a-long-random-token"
SHIFTS = {"early": time_of_day(6), "late": time_of_day(14), "night": time_of_day(22)}
DESKTOP, TABLET, PHONE = (1280, 900), (1180, 900), (390, 900)
GAP_PX = 24
SCALE = 0.6
COLOURS = 256
PASSWORD = "a good long phrase"
GOOD_IMAGES = 24
MAPS_S = 120.0
DOTS = 50  # In the plot of scores before the first screenshot.


def main() -> None:
    """Take all screenshots."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=ROOT / "docs")
    parser.add_argument("--only", nargs="*", default=[], help="pages to take instead of all")
    arguments = parser.parse_args()
    out, only = arguments.out, set(arguments.only)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "token").write_text(TOKEN)
        cv2.imwrite(str(folder / "part.png"), render(1, 1, "scratch"))
        lay_out_data_set(folder)
        lay_out_shift(folder)
        broker = Mosquitto(folder)
        broker.start()
        changes = {
            "station.name": "cell4",
            "http.token_file": folder / "token",
            "source.fps": 4,
            "source.uri": "defects=0.35&seed=4",
            "evidence.pass_every": 1,
            "promise.reinspect_share": 0.2,
            "promise.false_rejects_max": 0.01,
            "promise.escapes_max": 0.02,
            "models.path": folder / "models",
            "models.recipes": folder / "recipes",
            **{f"shifts.{name}": f"{start:%H:%M}" for name, start in SHIFTS.items()},
        }
        try:
            with Daemon(folder, broker.port, changes) as daemon, Browser() as browser:
                capture_pages(browser, daemon, folder, out, only)
        finally:
            broker.stop()


def lay_out_data_set(folder: Path) -> None:
    """Copy models and recipes into `folder`, and write a data set whose images have scores."""
    for name, source in (("models", ROOT / "models"), ("recipes", ROOT / "config/recipes")):
        shutil.copytree(source, folder / name)
    recipe, bundle = load_recipe(folder / "recipes", "demo", folder / "models")
    scorer = build_scorer(bundle, OpenVinoEngine(bundle.graph))
    datasets = Datasets(TeachSettings(path=folder / "datasets"))
    scores = []
    for number in range(GOOD_IMAGES):
        image = render(9, number, "scratch" if number == GOOD_IMAGES // 2 else None)
        datasets.add("demo", "train/good", image)
        scores.append(scorer.score(image, recipe).raw)
    for number in range(4):
        datasets.add("demo", "test/scratch", render(9, 100 + number, "scratch"))
    names = datasets.names("demo", "train/good")
    write_good_images(bundle.folder, names, scores, np.arange(len(names)))


def yesterday_early() -> Shift:
    """Return the shift whose report is shown."""
    shift = Calendar(SHIFTS).find(date.today() - timedelta(1), "early")
    assert shift is not None
    return shift


def lay_out_shift(folder: Path) -> None:
    """Write a journal with the early shift of yesterday, with a fault and a pause."""
    shift, path = yesterday_early(), folder / "journal.db"
    made = list(produce(shift.since_ms, shift.until_ms, 6000, product="demo", seed=4))
    made[0] = replace(made[0], image=keep_frame(folder / "evidence"))
    hours = (0, 3.1, 3.4, 5.6, 5.9, 8)
    states = (State.READY, State.FAULT, State.READY, State.PAUSED, State.READY)
    times = [shift.since_ms + round(hour * HOUR_MS) for hour in hours]
    spans = zip(states, times, times[1:], strict=False)
    fill(path, made, [(state, since, until, "") for state, since, until in spans])
    with Journal.open(path, clock_ms=lambda: times[3]) as journal:
        journal.audit("anna", "paused", {"product": "demo", "from": "READY", "to": "PAUSED", "why": "a jam"})


def begin_study(daemon: Daemon) -> str:
    """Go on with a study of which some verdicts are there, and return its address."""
    model = json.loads(daemon.get("/api/state")[1])["model"]
    parts = studies.numbered_parts(60, 60)
    study = studies.plan(parts, product="demo", passes=3, by="part", people=["anna"], seed=4)
    said = [
        Judged(0, part, "FAIL" if part.startswith("D") else "PASS", 0, 800, model, 1, number, 0)
        for number, part in enumerate(study.order[0][:41])
    ]
    name = Shelf(daemon.folder / "studies").add(replace(study, judged=tuple(said), reference="weekly"))
    assert daemon.post(f"/api/study/{name}/run", {}, TOKEN)[0] == 200
    return f"/study/{name}"


def mark_parts(daemon: Daemon) -> None:
    """Mark most rejects, one of them good, and half of the parts drawn for re-inspection."""
    rows = daemon.rows()
    rejects = [row for row in rows if row["result"] == "FAIL" and row["boot"] == rows[-1]["boot"]]
    drawn = json.loads(daemon.get("/api/reinspections")[1])
    marks = [(row, "defect" if number else "good") for number, row in enumerate(rejects[:-3])]
    for row, actual in [*marks, *((row, "good") for row in drawn[: len(drawn) // 2])]:
        daemon.post(f"/api/verdicts/{row['boot']}/{row['seq']}/review", {"actual": actual}, TOKEN)


def capture_pages(browser: Browser, daemon: Daemon, folder: Path, out: Path, only: Collection[str]) -> None:
    """Visit each page, or those named in `only`, and save its screenshots in one sheet."""
    browser.look(*DESKTOP)
    browser.open(daemon.address + "/products")
    browser.ask(f"document.querySelector('#token').value = {TOKEN!r}")
    browser.submit(".sign-in button")
    browser.open(daemon.address + "/")
    browser.wait_for(f"document.querySelectorAll('.dot').length >= {DOTS}")

    mark_parts(daemon)

    def visit(path: str) -> Callable[[], None]:
        return lambda: browser.open(daemon.address + path)

    def upload() -> None:
        browser.open(daemon.address + "/inspect")
        browser.choose_file("#image", folder / "part.png")
        browser.submit("main form button[type=submit]")

    def show_shift() -> None:
        browser.open(f"{daemon.address}/shifts/{yesterday_early().day}/early")
        browser.wait_for("document.querySelector('.defects img') && !document.querySelector('[data-awaits]')")

    reject = next(row for row in reversed(daemon.rows()) if row["result"] == "FAIL")
    pages = {
        "live": visit("/"),
        "inspect": upload,
        "history": visit("/history?result=FAIL%2CUNSURE%2CERROR"),
        "part": visit(f"/history/{reject['boot']}/{reject['seq']}"),
        "review": visit("/review"),
        "reinspect": visit("/reinspect"),
        "promise": visit("/promise"),
        "products": visit("/products"),
        "shift": show_shift,
    }
    capture(browser, pages, folder, out, only, DESKTOP)

    def choose() -> None:
        until = time.monotonic() + MAPS_S
        while json.loads(daemon.get("/api/teach/demo/pictures")[1])["waiting"]:
            assert time.monotonic() < until, "the heatmaps are not drawn"
            time.sleep(0.5)
        browser.open(daemon.address + "/teach/demo/sort")
        browser.ask("document.querySelector('.thumbs input').click()")
        browser.wait_for("document.querySelector('.prediction b')")
        browser.ask("document.querySelector('.bar').scrollIntoView()")

    def move_slider() -> None:
        browser.open(daemon.address + "/products/demo/threshold")
        browser.ask(
            "(() => { const slider = document.querySelector('[type=range]');"
            "slider.value = 0.75 * Number(slider.value); slider.dispatchEvent(new Event('input')); })()"
        )
        browser.wait_for("document.querySelectorAll('.shots img:nth-child(2), .shots a + img').length > 2")
        browser.ask("document.querySelector('.effect').scrollIntoView()")

    study = begin_study(daemon) if not only or "study" in only else ""
    steps = {
        "teach": visit("/teach"),
        **{f"teach-{step}": visit(f"/teach/demo/{step}") for step in STEPS if step != "sort"},
        "teach-curate": choose,
        "product": visit("/products/demo"),
        "threshold": move_slider,
        "study": visit(study),
    }
    capture(browser, steps, folder, out, only, TABLET)
    for role in Role:
        People(folder / "users.db").add_user(role.value, PASSWORD, role, "test")
    browser.open(daemon.address + "/")
    capture(browser, {"sign-in": visit("/sign-in")}, folder, out, only, TABLET)
    browser.open(daemon.address + "/sign-in")
    browser.ask("document.querySelector('#user').value = 'admin'")
    browser.ask(f"document.querySelector('#password').value = {PASSWORD!r}")
    browser.submit(".sign-in button")
    users = {"account": visit("/account"), "people": visit("/people")}
    capture(browser, users, folder, out, only, TABLET)


def capture(
    browser: Browser,
    pages: Mapping[str, Callable[[], None]],
    folder: Path,
    out: Path,
    only: Collection[str],
    size: tuple[int, int],
) -> None:
    """Save a sheet of each page."""
    for name, show in pages.items():
        if only and name not in only:
            continue
        views = [capture_page(browser, show, folder, dark, size) for dark in (False, True)]
        save(sheet(views, size), out / f"page-{name}.png")


def capture_page(
    browser: Browser, show: Callable[[], None], folder: Path, dark: bool, wide: tuple[int, int]
) -> tuple[Image, Image]:
    """Return screenshots of the page at the size `wide` and at that of a phone."""
    shots = []
    for size in (wide, PHONE):
        browser.look(*size, dark=dark, phone=size == PHONE)
        show()
        wanted = "PASS" if dark else "FAIL"
        browser.wait_for(
            f"document.body.dataset.page !== 'live' || document.querySelector('.tile[data-result={wanted}]')"
        )
        browser.wait_for(
            "[...document.images].every((image) => image.complete || "
            "(image.loading === 'lazy' && image.getBoundingClientRect().top > innerHeight))"
        )
        browser.screenshot(folder / "shot.png")
        shots.append(read_image(folder / "shot.png"))
    desktop, phone = shots
    return desktop, phone


def sheet(views: list[tuple[Image, Image]], wide: tuple[int, int]) -> Image:
    """Arrange the screenshots in one image: light above dark, the size `wide` left of phone."""
    width, height = wide[0] + PHONE[0] + 3 * GAP_PX, len(views) * (wide[1] + GAP_PX) + GAP_PX
    canvas = np.full((height, width, 3), 128, np.uint8)
    for row, (desktop, phone) in enumerate(views):
        top = GAP_PX + row * (wide[1] + GAP_PX)
        canvas[top : top + wide[1], GAP_PX : GAP_PX + wide[0]] = desktop
        left = 2 * GAP_PX + wide[0]
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
