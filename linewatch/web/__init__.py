"""Operator page, HTTP API, metrics and health checks: Flask on waitress."""

from linewatch.web.app import create_app
from linewatch.web.backend import (
    Actual,
    Backend,
    Hour,
    InspectResult,
    LiveImage,
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
    "LiveImage",
    "ModelInfo",
    "ProductInfo",
    "Query",
    "Review",
    "Row",
    "WebServer",
    "create_app",
]
