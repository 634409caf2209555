"""Register the teach pages and their API on the app."""

from collections.abc import Mapping

from flask import Flask

from linewatch.web.backend import Backend
from linewatch.web.people.access import AccessControl
from linewatch.web.teach.api import TeachApi
from linewatch.web.teach.forms import Forms
from linewatch.web.teach.interface import Teaching
from linewatch.web.teach.pages import TeachPages
from linewatch.web.teach.product_pages import ProductPages


def register(
    app: Flask, teaching: Teaching, backend: Backend, access: AccessControl, texts: Mapping[str, str]
) -> None:
    """Add the routes of `teaching`."""
    forms = Forms(access, texts)
    for routes in (TeachPages, ProductPages, TeachApi):
        app.register_blueprint(routes(teaching, backend, forms).blueprint())
