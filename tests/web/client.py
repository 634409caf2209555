"""What the tests of the page send: the token, images and forms."""

from io import BytesIO
from typing import Any

import cv2
import numpy as np
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

TOKEN = "a-long-random-token"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


def png(height: int = 64, width: int = 64) -> bytes:
    """Return a grey image as PNG."""
    return cv2.imencode(".png", np.full((height, width, 3), 90, np.uint8))[1].tobytes()


def upload(data: bytes, product: str = "bottle", name: str = "part.png") -> dict[str, Any]:
    """Return the arguments of a test client's `post` for an upload."""
    return {"data": {"image": (BytesIO(data), name), "product": product}}


def sign_in(client: FlaskClient) -> FlaskClient:
    """Sign in with the form, as a browser does."""
    assert client.post("/sign-in", data={"token": TOKEN, "then": "/review"}).status_code == 303
    return client


def error_sentence(response: TestResponse) -> str:
    """Return the one sentence of an API error."""
    body = response.get_json()
    assert list(body) == ["error"], body
    return str(body["error"])
