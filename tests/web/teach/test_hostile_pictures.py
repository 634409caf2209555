"""Pictures as phones, cameras and attackers send them to a data set, and what they draw on frames."""

import json
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient
from PIL import Image as Pillow

from linewatch.models.recipe_file import regions_of
from linewatch.settings import ModelsSettings
from linewatch.teach.collector import Collector
from linewatch.teach.datasets import Datasets
from linewatch.teach.thumbnails import Thumbnails
from linewatch.teach_settings import TeachSettings
from linewatch.vision.image_io import read_image
from linewatch.web.backend import ProductInfo
from linewatch.web.teach.teach_backend import TeachBackend
from tests.bundles import part, teach
from tests.fakes import FakeBackend, frame
from tests.web.client import BEARER, LEFT_TO_COLLECTOR, OPENED, TOKEN, people_with, sign_in_as, teaching_in

pytestmark = LEFT_TO_COLLECTOR

WIDTH, HEIGHT = 96, 64
WAIT_S = 60.0


@pytest.fixture
def teaching(tmp_path: Path, backend: FakeBackend) -> TeachBackend:
    """Return what teaches beside a line with frames of 64x64, and a product "demo"."""
    teach(ModelsSettings(path=tmp_path / "models", recipes=tmp_path / "recipes"))
    backend.product_infos = [ProductInfo("demo", 1, "", 0.0, 0.0)]
    datasets = Datasets(TeachSettings(path=tmp_path / "datasets"))
    thumbnails = Thumbnails(datasets)
    OPENED.append(thumbnails)
    collector = Collector(datasets, thumbnails)
    collector.offer(frame(image=part()))
    return teaching_in(tmp_path, collector=collector)


@pytest.fixture
def engineer(make_app: Callable[..., Flask], teaching: TeachBackend) -> FlaskClient:
    """Return the browser of an engineer."""
    return sign_in_as(make_app(people=people_with(), teaching=teaching).test_client(), "engineer")


def shown(kind: str, mode: str = "RGB", **how: Any) -> bytes:
    """Return a picture, red above and blue below, as Pillow writes it."""
    image = Pillow.new("RGB", (WIDTH, HEIGHT), "red")
    image.paste("blue", (0, HEIGHT // 2, WIDTH, HEIGHT))
    out = BytesIO()
    image.convert(mode).save(out, kind, **how)
    return out.getvalue()


def turned() -> bytes:
    """Return a JPEG of a camera held upright: its rows are to be turned by 90 degrees."""
    exif = Pillow.Exif()
    exif[0x0112] = 6
    return shown("JPEG", exif=exif)


def deep() -> bytes:
    """Return a grey PNG of 16 bits."""
    grey = np.linspace(0, 65_535, WIDTH * HEIGHT).astype(np.uint16).reshape(HEIGHT, WIDTH)
    return cv2.imencode(".png", grey)[1].tobytes()


def huge() -> bytes:
    """Return a PNG of 60,000 x 60,000 pixels in a few bytes of header."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    rows = chunk(b"IDAT", zlib.compress(bytes(1_000_000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + rows + chunk(b"IEND", b"")


HTML = b"<script>document.title = 'run'</script>"
STORED = {
    # Name of the file -> content, width and height of its thumbnail; None: it is named as unreadable.
    "cmyk.jpg": (shown("JPEG", "CMYK"), None),
    "plain.jpg": (shown("JPEG"), (WIDTH, HEIGHT)),
    "turned.jpg": (turned(), (HEIGHT, WIDTH)),
    "deep.png": (deep(), (WIDTH, HEIGHT)),
    "clear.png": (shown("PNG", "RGBA"), (WIDTH, HEIGHT)),
    "palette.png": (shown("PNG", "P"), (WIDTH, HEIGHT)),
    "page.png": (shown("PNG") + HTML, (WIDTH, HEIGHT)),
    "mislabelled.png": (shown("JPEG"), (WIDTH, HEIGHT)),
    "huge.png": (huge(), None),
    "cut.jpg": (shown("JPEG")[:400], None),
    "cut.tif": (shown("TIFF")[:400], None),
}
REFUSED = {
    "IMG_0815.HEIC": (b"\0\0\0\x18ftypheic" + bytes(200), "HEIC or AVIF photo"),
    "renamed.jpg": (b"\0\0\0\x18ftypheic" + bytes(200), "HEIC or AVIF photo"),
    "film.gif": (shown("GIF"), "not a picture of a known kind"),
    "film.png": (shown("GIF"), "not a picture of a known kind"),
    "drawing.svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a picture of a known kind"),
    "page.jpg": (HTML, "not a picture of a known kind"),
    "picture.html": (shown("PNG"), "not named as an image"),
    "empty.png": (b"", "is empty"),
}


def send(client: FlaskClient, *files: tuple[str, bytes]) -> Any:
    """Upload files in one form."""
    images = [(BytesIO(data), name) for name, data in files]
    return client.post("/teach/demo/collect", data={"action": "upload", "image": images})


def test_pictures_of_every_kind_are_shown_or_named(engineer: FlaskClient, teaching: TeachBackend) -> None:
    """Turned as the camera says, in the colours of the picture, with 8 bits; the process goes on."""
    assert send(engineer, *((name, data) for name, (data, _) in STORED.items())).status_code == 303
    engineer.get("/teach/demo/sort")
    assert teaching._thumbnails._process.wait(WAIT_S) == 0

    page = engineer.get("/teach/demo/sort").text
    for name, (data, size) in STORED.items():
        answer = engineer.get(f"/teach/demo/thumbnail?place=train/good&name={name}")
        if size is None:
            assert answer.status_code == 404, name
            continue
        decoded = cv2.imdecode(np.frombuffer(answer.data, np.uint8), cv2.IMREAD_COLOR)
        assert decoded is not None and decoded.shape[1::-1] == size, name
        whole = engineer.get(f"/teach/demo/image?place=train/good&name={name}")
        assert whole.data == data and whole.mimetype in ("image/png", "image/jpeg"), name
        assert whole.headers["X-Content-Type-Options"] == "nosniff"
    assert page.count('class="missing"') == sum(size is None for _, size in STORED.values())
    for sentence in ("megapixels", "damaged", "CMYK image for printing; save it as RGB"):
        assert sentence in page


def test_colours_survive(engineer: FlaskClient, tmp_path: Path) -> None:
    """The red half is red for learning, too, and at the right of a turned picture."""
    send(engineer, *((name, STORED[name][0]) for name in ("plain.jpg", "turned.jpg")))

    plain = read_image(tmp_path / "datasets/demo/train/good/plain.jpg")
    upright = read_image(tmp_path / "datasets/demo/train/good/turned.jpg")
    assert plain[8, 48].argmax() == 2 and plain[-8, 48].argmax() == 0
    assert upright[48, -8].argmax() == 2 and upright[48, 8].argmax() == 0


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_picture_is_refused_at_once(engineer: FlaskClient, tmp_path: Path, name: str) -> None:
    """With its name and the remedy, and nothing of the same form is stored."""
    data, sentence = REFUSED[name]

    answer = send(engineer, ("good.png", shown("PNG")), (name, data))

    assert answer.status_code == 409 and sentence in answer.text and name in answer.text
    assert not list((tmp_path / "datasets").rglob("*.png"))


DRAWN = (
    # Address, body, what the sentence says.
    ("regions", {"regions": [{"name": "a", "roi": [0, 0, 65, 32]}]}, "does not lie in the frame"),
    ("regions", {"regions": [{"name": "a", "roi": [60_000, 60_000, 60_000, 60_000]}]}, "does not lie"),
    ("regions", {"regions": [{"name": "a", "roi": [float("nan"), 0, 32, 32]}]}, "regions"),
    ("regions", {"regions": [{"name": "a", "roi": [-1, 0, 32, 32]}]}, "regions"),
    ("regions", {"regions": [{"name": "a", "roi": [0, 0, 32, 32, 32]}]}, "regions"),
    ("regions", {"regions": [{"name": "a", "roi": [0, 0, 1e300, 32]}]}, "regions"),
    (
        "regions",
        {"regions": [{"name": "a", "roi": [0, 0, 32, 32], "threshold_factor": float("nan")}]},
        "regions",
    ),
    ("regions", {"regions": [{"name": "a", "roi": [0, 0, 32, 32], "threshold": float("inf")}]}, "regions"),
    ("regions", {"regions": [{"name": "a\n[x]", "roi": [0, 0, 32, 32]}]}, "name"),
    ("regions", {"regions": [{"name": "a\0", "roi": [0, 0, 32, 32]}]}, "name"),
    ("regions", {"regions": [{"name": " ", "roi": [0, 0, 32, 32]}]}, "name"),
    ("regions", {"regions": [{"name": "a", "roi": [0, 0, 32, 32]}] * 2}, "a"),
    ("regions", {"regions": [{"name": f"{n}", "roi": [0, 0, 32, 32]} for n in range(400)]}, "regions"),
    ("regions", {"regions": {"a": 1}}, "regions"),
    ("area", {"roi": [0, 0, 65, 64]}, "does not lie in the frame"),
    ("area", {"roi": [float("nan"), 0, 40, 40]}, "roi"),
    ("area", {"roi": [0, 0, 40, 40], "strokes": "3 nan 1"}, "cannot be read"),
    ("area", {"strokes": "3 1 1" + " 1 1" * 3100}, "strokes"),
    ("area", {"strokes": "2000 1 1;" * 1300}, "painted out"),
    ("area", {"strokes": "3 99 1"}, "leaves the frame"),
    ("area", {"strokes": ["3 1 1"]}, "strokes"),
)


@pytest.mark.parametrize(("address", "body", "sentence"), DRAWN, ids=[str(row[1])[:60] for row in DRAWN])
def test_what_cannot_be_drawn_is_refused_and_changes_nothing(
    make_app: Callable[..., Flask],
    teaching: TeachBackend,
    tmp_path: Path,
    address: str,
    body: dict[str, Any],
    sentence: str,
) -> None:
    """One sentence; recipe and mask stay as they were."""
    client = make_app(TOKEN, teaching=teaching).test_client()
    before = (tmp_path / "recipes/demo.toml").read_bytes()

    answer = client.post(f"/api/teach/demo/{address}", data=json.dumps(body), headers=BEARER)

    assert answer.status_code in (400, 409), answer.text
    said = str(answer.get_json()["error"])
    assert sentence in said and "\n" not in said
    assert (tmp_path / "recipes/demo.toml").read_bytes() == before
    assert [path.name for path in (tmp_path / "recipes").iterdir()] == ["demo.toml"]
    assert regions_of(tmp_path / "recipes", "demo") == ()
