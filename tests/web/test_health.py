from flask.testing import FlaskClient
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from linewatch.domain import State
from tests.fakes import FakeBackend


def test_state_readiness_and_health_are_reported(client: FlaskClient, backend: FakeBackend) -> None:
    """`/api/state` is the payload of B/state; `/readyz` has reasons; `/healthz` is about the stages."""
    assert client.get("/api/state").get_json() == backend.current
    assert client.get("/readyz").get_json() == {"ready": True, "state": "READY", "reasons": []}
    assert client.get("/healthz").status_code == 200

    backend.current["state"], backend.reasons, backend.is_alive = State.PAUSED, ["paused by command"], False

    ready = client.get("/readyz")
    assert (ready.status_code, ready.get_json()["reasons"]) == (503, ["paused by command"])
    assert client.get("/healthz").status_code == 503


def test_metrics_are_the_exposition_of_the_registry(client: FlaskClient) -> None:
    """Prometheus gets it with its content type."""
    response = client.get("/metrics")

    assert response.headers["Content-Type"] == CONTENT_TYPE_PLAIN_0_0_4
    assert b"parts_total 3.0" in response.data
