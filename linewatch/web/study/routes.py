"""Register the pages of studies and their API on the app."""

from collections.abc import Mapping

from flask import Flask

from linewatch.web.backend import Backend
from linewatch.web.people.access import AccessControl
from linewatch.web.study.api import StudyApi
from linewatch.web.study.forms import StudyForms
from linewatch.web.study.interface import Studies
from linewatch.web.study.pages import StudyPages


def register_studies(
    app: Flask, studies: Studies, backend: Backend, access: AccessControl, texts: Mapping[str, str]
) -> None:
    """Add the routes of `studies`."""
    forms = StudyForms(studies, access, texts)
    for routes in (StudyPages, StudyApi):
        app.register_blueprint(routes(studies, backend, forms).blueprint())
