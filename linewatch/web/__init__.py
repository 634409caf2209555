"""The operator's page, the HTTP API, the metrics and the health checks: Flask on waitress."""

from linewatch.web.app import create_app
from linewatch.web.backend import (
    Actual,
    Backend,
    Hour,
    InspectResult,
    LivePicture,
    ModelInfo,
    ProductInfo,
    Query,
    Review,
    Row,
)
from linewatch.web.server import WebServer

__all__ = [
    "Actual",
    "Backend",
    "Hour",
    "InspectResult",
    "LivePicture",
    "ModelInfo",
    "ProductInfo",
    "Query",
    "Review",
    "Row",
    "WebServer",
    "create_app",
]
