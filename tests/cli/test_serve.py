"""The pages without a line: `linewatch serve`."""

import json
import os
import re
import signal
import sqlite3
import threading
import time
import urllib.error
import urllib.request
from contextlib import closing
from pathlib import Path

import pytest

from linewatch.cli.serve import serve_office
from linewatch.domain import Result
from linewatch.errors import ConfigError
from linewatch.settings import EvidenceSettings, HttpSettings, JournalSettings, Settings, StationSettings
from linewatch.storage.journal import Journal
from linewatch.storage.journal_index import BLOCK_ROWS
from linewatch.web import WebServer
from tests.bundles import models_in, part, png, teach
from tests.fakes import verdict
from tests.multipart import upload

TOKEN = "a-long-random-token"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Return the settings of a station that has judged one part."""
    (tmp_path / "token").write_text(TOKEN)
    models = models_in(tmp_path)
    teach(models)
    with Journal.open(tmp_path / "journal.db") as journal:
        journal.append(verdict(1, Result.FAIL, boot=journal.boot, product="demo"))
        journal.release(journal.boot, 1)
    return Settings(
        station=StationSettings(name="station1", product="demo"),
        models=models,
        journal=JournalSettings(path=tmp_path / "journal.db"),
        evidence=EvidenceSettings(path=tmp_path / "evidence"),
        http=HttpSettings(port=0, token_file=tmp_path / "token"),
    )


def ask(page: WebServer, path: str, body: object = None) -> tuple[int, str]:
    """Send a request with the token (POST if there is a body); return the status and the response."""
    request = urllib.request.Request(page.address + path, headers={"Authorization": f"Bearer {TOKEN}"})
    if isinstance(body, tuple):
        request.data, content_type = body
        request.add_header("Content-Type", content_type)
    elif body is not None:
        request.data = json.dumps(body).encode()
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_uploads_and_review_work_without_camera_and_broker(settings: Settings) -> None:
    """Uploads are judged, parts reviewed and products shown; a changeover is refused."""

    def visit(page: WebServer) -> None:
        status, home = ask(page, "")
        assert status == 200 and "Inspect a picture" in home, "the live view leads to the uploads"
        assert "No line here" in home and ">Live<" not in home

        status, text = ask(page, "api/inspect", upload(png(part(30)), "demo"))
        assert (status, json.loads(text)["result"]) == (200, "FAIL")

        assert "Part #1" in ask(page, "review")[1]
        status, _ = ask(page, "api/verdicts/1/1/review", {"actual": "good", "note": "dust"})
        assert status == 200
        assert [row["actual"] for row in json.loads(ask(page, "api/verdicts")[1])] == ["good"]

        assert "demo" in ask(page, "products")[1]
        status, text = ask(page, "api/product", {"product": "demo"})
        assert status == 409 and "no line runs here" in text
        assert ask(page, "live.jpg")[0] == 404
        assert ask(page, "healthz")[0] == 200
        assert ask(page, "readyz")[0] == 503

    serve_office(settings, duration_s=0, started=visit)


def test_an_old_journal_is_searched_at_once_and_indexed_meanwhile(settings: Settings) -> None:
    """Following the links finds the one part before the index is built; then it is built."""
    path = settings.journal.path
    with Journal.open(path) as journal:
        boot = journal.boot
        journal.pending.extend(verdict(seq, boot=boot, part=f"S{seq}") for seq in range(1, 3 * BLOCK_ROWS))
        journal.release(boot, 3 * BLOCK_ROWS)
    with closing(sqlite3.connect(path)) as db:
        for table in ("tallies", "segments", "parts"):
            db.execute(f"DROP TABLE {table}")
        db.execute("PRAGMA user_version = 2")
    found: list[int] = []
    blocks: list[int] = []

    def wait_for_index() -> None:
        with closing(sqlite3.connect(path)) as db:
            for _ in range(600):
                blocks[:] = db.execute("SELECT count(DISTINCT block) FROM tallies").fetchone()
                if blocks == [3]:
                    break
                time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    def visit(page: WebServer) -> None:
        address = "api/verdicts?product=demo&result=FAIL"
        while address:
            with urllib.request.urlopen(page.address + address, timeout=60) as answer:
                found.extend(row["seq"] for row in json.loads(answer.read()))
                link = re.match(r"</(.+)>", answer.headers.get("Link", ""))
            address = link[1] if link else ""
        threading.Thread(target=wait_for_index).start()

    serve_office(settings, started=visit)

    assert (found, blocks) == ([1], [3])


def test_a_part_without_a_kept_good_one_is_compared_with_a_golden_sample(settings: Settings) -> None:
    """The part's page shows the model's golden sample if no good part was kept."""
    with Journal.open(settings.journal.path) as journal:
        boot = journal.boot
        version = next(path.name for path in (settings.models.path / "demo").iterdir() if path.is_dir())
        journal.append(verdict(1, Result.FAIL, boot=boot, product="demo", model=version))
        journal.release(boot, 1)

    def visit(page: WebServer) -> None:
        address = f"products/demo/{version}/good.png"
        assert f'src="/{address}"' in ask(page, f"history/{boot}/1")[1]
        with urllib.request.urlopen(page.address + address) as answer:
            assert answer.read() == png(part())

    serve_office(settings, duration_s=0, started=visit)


def test_a_picture_that_does_not_fit_the_roi_is_a_conflict(settings: Settings) -> None:
    """The response is 409 with one sentence: the recipe or the image has to change."""
    (settings.models.recipes / "demo.toml").write_text("index = 1\nroi = [0, 0, 640, 480]\n")

    def visit(page: WebServer) -> None:
        status, text = ask(page, "api/inspect", upload(png(part()), "demo"))
        assert status == 409 and "do not contain roi" in json.loads(text)["error"]

    serve_office(settings, duration_s=0, started=visit)


def test_beside_a_running_daemon_it_refuses(settings: Settings) -> None:
    """Two processes must not write to one journal; the daemon has its own page."""
    with (
        Journal.open(settings.journal.path),
        pytest.raises(ConfigError, match="in use by another linewatch"),
    ):
        serve_office(settings, duration_s=0)
