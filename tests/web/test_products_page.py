from flask.testing import FlaskClient

from linewatch.errors import RecipeError
from linewatch.web import ModelInfo, ProductInfo
from tests.fakes import FakeBackend
from tests.web.client import sign_in


def test_products_show_models_and_change_over_in_two_steps(client: FlaskClient, backend: FakeBackend) -> None:
    """Changing over needs a session; a failure is shown as one sentence."""
    backend.product_infos[0] = ProductInfo(
        "bottle",
        3,
        "7f3a91c2",
        2.0,
        1.8,
        True,
        "",
        (ModelInfo("7f3a91c2", 1_790_000_000_000, 2.0, 1.8, 209, 0.01, 0.144),),
    )
    assert 'name="product"' not in client.get("/products").text
    page = sign_in(client).get("/products").text

    done = client.post("/products", data={"product": "screw"})
    backend.trouble = RecipeError("product 'bottle': the golden self-test failed; activate another version")
    failed = client.post("/products", data={"product": "bottle"})
    unknown = client.post("/products", data={"product": "../etc"})

    assert "Wanted false rejects" in page and "proven: at most 14.4\N{NARROW NO-BREAK SPACE}%" in page
    assert "7f3a91c2" in page and "209" in page and "<details" in page and 'value="screw"' in page
    assert (done.status_code, backend.switched) == (303, ["screw"])
    assert failed.status_code == 409 and "golden self-test failed" in failed.text
    assert unknown.status_code == 404


def test_a_report_is_sandboxed(client: FlaskClient, backend: FakeBackend) -> None:
    """Scripts are forbidden, and only reports of listed products are served."""
    model = ModelInfo("7f3a91c2", 0, 2.0, 1.8, report=True)
    backend.product_infos[0] = ProductInfo("bottle", 3, "7f3a91c2", 2.0, 1.8, models=(model,))
    backend.reports = {("bottle", "7f3a91c2"): b"<h1>Report</h1>", ("..", "etc"): b"secret"}

    report = client.get("/products/bottle/7f3a91c2/report")

    assert report.data == b"<h1>Report</h1>"
    assert "sandbox" in report.headers["Content-Security-Policy"]
    assert "script-src" not in report.headers["Content-Security-Policy"]
    assert client.get("/products/../etc/report").status_code == 404
