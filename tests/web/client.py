"""What the tests of the page send: the token, images and forms."""

from io import BytesIO
from typing import Any

import cv2
import numpy as np
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from linewatch.people.people import People
from linewatch.people.roles import Role

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


PASSWORD = "a good long phrase"


def people_with(*roles: Role) -> People:
    """Return people in memory with one user for each role, named after it."""
    people = People()
    for role in roles or tuple(Role):
        people.add_user(role.value, PASSWORD, role, "test")
    return people


def sign_in_as(client: FlaskClient, user: str, password: str = PASSWORD) -> FlaskClient:
    """Sign in with name and password; the client then says, as browsers do, where its requests are from."""
    client.environ_base["HTTP_SEC_FETCH_SITE"] = "same-origin"
    answer = client.post("/sign-in", data={"user": user, "password": password, "then": "/review"})
    assert answer.status_code == 303, answer.text
    return client
