"""Hostile and malformed HTTP requests: every refusal is one sentence, and nothing leaks."""

import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

import cv2
import numpy as np
import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from linewatch.domain import Result
from linewatch.web import LiveImage, Row, create_app
from tests.fakes import FakeBackend, verdict
from tests.multipart import upload
from tests.web.client import BEARER, TOKEN

ROUTES = (
    *("/", "/inspect", "/history", "/review", "/products", "/metrics", "/healthz", "/readyz", "/live.jpg"),
    *("/api/state", "/api/verdicts", "/api/inspect", "/api/product", "/sign-in", "/sign-out"),
    *("/api/verdicts/41/1/review", "/history/41/1", "/evidence/1.png", "/heatmap/x.jpg", "/picture/x.jpg"),
    *("/api/export", "/api/counts", "/api/audit", "/api/audit/verify", "/history/export", "/audit/export"),
    *("/products/bottle/7f3a91c2/report", "/static/page.css", "/nowhere"),
)


@pytest.fixture
def backend() -> FakeBackend:
    """One rejected part."""
    backend = FakeBackend(Row(verdict(1, Result.FAIL)))
    backend.live = LiveImage(b"\xff\xd8", verdict(1))
    return backend


@pytest.fixture
def client(backend: FakeBackend, tmp_path: Path) -> FlaskClient:
    """Call the app as it runs in production: an exception becomes a 500."""
    (tmp_path / "evidence").mkdir()
    (tmp_path / "secret.png").write_bytes(b"secret")
    (tmp_path / "evidence" / "1.png").write_bytes(b"picture")
    app = create_app(backend, lambda: (b"", "text/plain"), TOKEN, tmp_path / "evidence")
    return app.test_client()


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return one chunk of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(width: int, height: int, rows: bytes = b"") -> bytes:
    """Return a PNG whose header claims a size."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


def encoded(suffix: str, height: int = 64, width: int = 64) -> bytes:
    """Return noise as an encoded image."""
    noise = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
    return cv2.imencode(suffix, noise)[1].tobytes()


UPLOADS: dict[str, tuple[Callable[[], bytes], int]] = {
    "empty": (lambda: b"", 400),
    "text": (lambda: b"not a picture", 400),
    "html": (lambda: b"<!doctype html><script>alert(1)</script>", 400),
    "svg": (lambda: b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>', 400),
    "svg with an entity bomb": (lambda: b'<!DOCTYPE svg [<!ENTITY a "aaaa">]><svg>&a;</svg>', 400),
    "zip": (lambda: b"PK\x03\x04" + bytes(200), 400),
    "truncated png": (lambda: encoded(".png")[:500], 400),
    "truncated jpeg": (lambda: encoded(".jpg")[:500], 400),
    "truncated webp": (lambda: encoded(".webp")[:200], 400),
    "only a png signature": (lambda: b"\x89PNG\r\n\x1a\n", 400),
    "png without rows": (lambda: png_of(64, 64), 400),
    "picture of 2 x 2": (lambda: encoded(".png", 2, 2), 400),
    "claims 0 x 0": (lambda: png_of(0, 0), 400),
    "claims 60 megapixels": (lambda: png_of(10_000, 6_000), 413),
    "claims 2^31 x 2^31": (lambda: png_of(2**31 - 1, 2**31 - 1), 400),
    "bomb: 64 megapixels in 62 kB": (lambda: png_of(8_000, 8_000, bytes(8_001 * 8_000)), 413),
    "20 MB and one byte": (lambda: encoded(".jpg") + bytes(20_000_000), 413),
}


@pytest.mark.parametrize("name", UPLOADS)
@pytest.mark.parametrize("path", ["/api/inspect", "/inspect", "/api/recall", "/recall"])
def test_a_bad_upload_is_refused_with_one_sentence(
    client: FlaskClient, backend: FakeBackend, name: str, path: str
) -> None:
    """No such file reaches the scorer, and the answer does not quote its name."""
    make, status = UPLOADS[name]

    body, content_type = upload(make())
    response = client.post(path, data=body, content_type=content_type)

    assert response.status_code == status, response.text
    if path.startswith("/api"):
        sentence = response.get_json()["error"]
        assert sentence and "\n" not in sentence and "part.png" not in sentence
    assert backend.inspected == []


def test_a_mislabelled_image_is_inspected_by_its_content(client: FlaskClient, backend: FakeBackend) -> None:
    """A JPEG called .html is inspected as a JPEG."""
    image = (BytesIO(encoded(".jpg")), "<script>.html", "text/html")

    response = client.post("/api/inspect", data={"image": image, "product": "bottle"})

    assert response.status_code == 200 and "script" not in response.text
    assert len(backend.inspected) == 1


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "a\\..\\b", "a\0b.png", "x" * 300, "CON", 'a"; drop.png', ""]
)
def test_a_file_name_is_never_used(client: FlaskClient, tmp_path: Path, name: str) -> None:
    """No file of the upload's name is created."""
    before = sorted(tmp_path.rglob("*"))

    response = client.post(
        "/api/inspect", data={"image": (BytesIO(encoded(".png")), name), "product": "bottle"}
    )

    assert response.status_code in (200, 400)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "path",
    ["/api/inspect", "/inspect", "/api/recall", "/recall", "/api/product", "/sign-in", "/history/41/1"],
)
def test_200_megabytes_are_refused_by_their_header(client: FlaskClient, path: str) -> None:
    """Content-Length alone is enough; the body is not read."""

    class Unread(BytesIO):
        def read(self, *sizes: int | None) -> bytes:
            raise AssertionError("the body was read")

    response = client.open(
        path,
        method="POST",
        input_stream=Unread(),
        headers={"Content-Type": "multipart/form-data; boundary=x"} | BEARER,
        environ_overrides={"CONTENT_LENGTH": "200000000"},
    )

    assert response.status_code in (401, 413) if path == "/history/41/1" else response.status_code == 413


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"product": "bottle"},
        {"image": "not a file", "product": "bottle"},
        {"image": (BytesIO(b"x"), "a.png")},
        {"image": (BytesIO(b"x"), "a.png"), "product": "../bottle"},
        {f"field{i}": "x" for i in range(50)},
    ],
)
def test_a_form_that_is_no_upload_is_refused(client: FlaskClient, body: dict[str, Any]) -> None:
    """Missing, unknown or too many fields get a status of 400 to 499."""
    for path in ("/api/inspect", "/inspect", "/api/recall", "/recall"):
        response = client.post(path, data={k: v for k, v in body.items() if isinstance(v, str)})
        assert 400 <= response.status_code < 500


@pytest.mark.parametrize(
    "path",
    [
        "../secret.png",
        "..%2fsecret.png",
        "%2e%2e/secret.png",
        "a/../../secret.png",
        "..\\secret.png",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "link.png",
        ".half.png",
        "1.png%00.jpg",
        ".",
        pytest.param("a" * 4000 + ".png", id="long"),
        "notes.txt",
        "%ff%fe.png",
    ],
)
def test_evidence_never_leaves_its_folder(client: FlaskClient, tmp_path: Path, path: str) -> None:
    """Neither dots, encodings, links nor odd names lead outside, and only complete images are served."""
    (tmp_path / "evidence" / "link.png").symlink_to(tmp_path / "secret.png")
    (tmp_path / "evidence" / "notes.txt").write_text("secret")
    (tmp_path / "evidence" / ".half.png").write_text("secret")

    response = client.get("/evidence/" + path)

    assert response.status_code in (404, 308) and b"secret" not in response.data


@pytest.mark.parametrize(
    "path",
    [
        "/history/../../etc/passwd",
        "/history/41/-1",
        "/history/41/1e3",
        "/history/41/99999999999",
        pytest.param("/history/41/" + "9" * 5000, id="long"),
        "/history/%D9%A4%D9%A1/1",
        "/history/41/..%2f",
        "/products/..%2f..%2fetc/passwd/report",
        "/products/bottle/..%2fetc/report",
        "/heatmap/..%2f..%2fsecret.jpg",
        "/static/../app.py",
        "/static/..%2fapp.py",
    ],
)
def test_a_path_parameter_is_what_it_must_be_or_nothing(client: FlaskClient, path: str) -> None:
    """Anything but a number of at most ten digits, or the name of a known thing, is 404."""
    assert client.get(path).status_code == 404


@pytest.mark.parametrize(
    "query",
    [
        *("limit=0", "limit=-1", "limit=1001", "limit=1e2", "limit=%D9%A4", "limit=" + "9" * 50, "limit=x"),
        *("before=41", "before=41-x", "before=-1-1", "before=99999999999-1", "before=' OR 1=1--"),
        *("result=MAYBE", "result=PASS,", "reason=1", "reason=x", "product=../x", "product=a%00b"),
        *(
            "from=yesterday",
            "from=2026-13-01",
            "to=0001-01-01T00:00",
            "to=9999-12-31T23:59",
            "to=%F0%9F%98%80",
        ),
    ],
)
def test_a_wrong_parameter_gets_one_sentence(client: FlaskClient, query: str) -> None:
    """Wrong values of known parameters get 400 from the API and from pages."""
    api, page = client.get("/api/verdicts?" + query), client.get("/history?" + query)

    if query.startswith("to="):
        assert api.status_code in (200, 400)
    else:
        assert api.status_code == 400 and list(api.get_json()) == ["error"]
    assert page.status_code == api.status_code


@pytest.mark.parametrize("query", ["limt=5", "limit=5&from%0A=1", "parts=", "x" * 5000 + "=1"])
def test_an_unknown_parameter_is_named(client: FlaskClient, query: str) -> None:
    """The API refuses a misspelt condition instead of ignoring it; pages have parameters of their own."""
    api, page = client.get("/api/verdicts?" + query), client.get("/history?" + query)

    assert (api.status_code, page.status_code) == (400, 200)
    sentence = api.get_json()["error"]
    name = {"limt=5": "limt", "limit=5&from%0A=1": "from", "parts=": "parts"}.get(query, "x" * 32)
    assert sentence.startswith(f"There is no parameter '{name}';") and "\n" not in sentence


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"good"',
        b"null",
        b"\xff\xfe",
        b"[" * 10_000,
        b'{"actual": "maybe"}',
        b'{"actual": ["good"]}',
        b'{"actual": "good", "note": 5}',
        b'{"actual": "good", "note": "\\ud800"}',
        b'{"actual": "good", "note": "a\\u0000b"}',
        b'{"actual": "good", "note": "' + b"x" * 501 + b'"}',
    ],
)
def test_a_review_that_cannot_be_stored_is_refused(
    client: FlaskClient, backend: FakeBackend, body: bytes
) -> None:
    """Only good, defect and a note of at most 500 printable characters are stored."""
    response = client.post("/api/verdicts/41/1/review", data=body, headers=BEARER)

    assert response.status_code == 400 and list(response.get_json()) == ["error"]
    assert backend.rows[41, 1].review is None


def test_a_note_is_text_wherever_it_is_shown(client: FlaskClient) -> None:
    """Markup in a note is escaped."""
    note = "<script>alert('é')</script>"
    client.post("/api/verdicts/41/1/review", json={"actual": "good", "note": note}, headers=BEARER)

    page = client.get("/history/41/1").text

    assert "<script>alert" not in page and "&lt;script&gt;alert(&#39;é&#39;)" in page


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:9999"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost"},
    ],
)
def test_other_sites_cannot_post_through_an_operators_browser(
    client: FlaskClient, backend: FakeBackend, headers: dict[str, str]
) -> None:
    """They are refused with the session's cookie, too, and from another port of the same host."""
    client.post("/sign-in", data={"token": TOKEN}, headers={"Origin": "http://localhost"})

    for path, form in (("/history/41/1", {"actual": "good"}), ("/products", {"product": "screw"})):
        assert client.post(path, data=form, headers=headers).status_code == 403
    assert client.post("/api/inspect", data={}, headers=headers).status_code == 403
    assert backend.rows[41, 1].review is None and backend.switched == []

    own = client.post("/history/41/1", data={"actual": "good"}, headers={"Origin": "http://localhost"})
    assert own.status_code == 303


@pytest.mark.parametrize("value", ["a\r\nSet-Cookie: x=1", "a%0d%0aSet-Cookie:%20x=1", "é" * 50])
def test_no_input_becomes_a_header(client: FlaskClient, value: str) -> None:
    """Line ends in a parameter never start a new header."""
    clean = value.replace("\r\n", "%0d%0a")
    responses = [
        client.get("/live.jpg?at=" + clean),
        client.get("/api/verdicts?limit=1&extra=" + clean),
        client.get("/review?before=" + clean),
        client.post("/sign-in", data={"token": TOKEN, "then": value}),
        client.post("/inspect", data={"product": value, "image": (BytesIO(b"x"), "a")}),
    ]

    for response in responses:
        assert response.status_code < 500
        assert not any(v.startswith("x=1") for k, v in response.headers if k == "Set-Cookie")


def test_an_exception_reveals_nothing(
    client: FlaskClient, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception is a plain 500 for programs and people; the traceback is in the log only."""

    def broken() -> list[Any]:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(backend, "products", broken)

    for path in ("/products", "/inspect"):
        page = client.get(path)
        assert page.status_code == 500 and "secret" not in page.text and "Traceback" not in page.text
    api = client.post("/api/product", json={"product": "x"}, headers=BEARER)
    assert api.status_code == 500 and "secret" not in api.text and list(api.get_json()) == ["error"]


words = st.text(max_size=40) | st.sampled_from(
    ["41", "1", "good", "bottle", "FAIL", "41-1", TOKEN, "../..", "\0"]
)


@settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    route=st.sampled_from(ROUTES),
    extra=st.just("") | words,
    method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE"]),
    query=st.dictionaries(
        st.sampled_from(
            [
                *("limit", "before", "result", "product", "reason", "from", "to", "at", "done", "x"),
                *("format", "model", "reviewer", "region", "part", "head", "who", "action"),
            ]
        ),
        words,
    ),
    form=st.none() | st.dictionaries(st.sampled_from(["token", "then", "actual", "note", "product"]), words),
    body=st.none() | st.binary(max_size=200),
    bearer=st.booleans(),
)
def test_random_calls_never_end_in_a_fault(
    client: FlaskClient,
    route: str,
    extra: str,
    method: str,
    query: dict[str, str],
    form: dict[str, str] | None,
    body: bytes | None,
    bearer: bool,
) -> None:
    """No random request gets a 500, and errors of the API are one sentence."""
    response = client.open(
        route + quote(extra),
        method=method,
        query_string=query,
        data=form if form is not None else body,
        headers=BEARER if bearer else {},
    )

    assert response.status_code < 500, response.text
    if route.startswith("/api/") and extra == "" and response.status_code >= 400 and method != "HEAD":
        assert list(response.get_json()) == ["error"]
    response.close()
