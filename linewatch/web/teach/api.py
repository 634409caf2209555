"""JSON endpoints for teaching: each does what the page's button and the command do."""

import math
from dataclasses import asdict
from json import loads
from typing import Any

from flask import Blueprint, Response, abort, jsonify, request
from pydantic import BaseModel

from linewatch.vision.recipe import Region
from linewatch.web.backend import Backend
from linewatch.web.params import Model
from linewatch.web.teach.forms import (
    AreaBody,
    BeginBody,
    CollectBody,
    Forms,
    LearnBody,
    MoveBody,
    PlaceBody,
    RegionsBody,
    RemoveBody,
    ThresholdBody,
    VersionBody,
    WithoutBody,
    refuse_troubles,
)
from linewatch.web.teach.interface import Teaching
from linewatch.web.teach.pages import LAST, find_product

RAW_MAX = 1e9  # JSON has no infinity, which is the score of a part that was not found.


class TeachApi:
    """Routes below `/api/teach` and `/api/products`. Whatever changes something needs an engineer.

    `description.TEACH_OPERATIONS` describes each of them.
    """

    def __init__(self, teaching: Teaching, backend: Backend, forms: Forms) -> None:
        self._teaching = teaching
        self._backend = backend
        self._forms = forms

    def blueprint(self) -> Blueprint:
        """Return the routes."""
        routes = Blueprint("teach_api", __name__, url_prefix="/api")
        routes.post("/teach")(self.begin)
        routes.get("/teach/<product>")(self.state)
        routes.post("/teach/<product>/area")(self.area)
        routes.post("/teach/<product>/regions")(self.regions)
        routes.post("/teach/<product>/collect")(self.collect)
        routes.post("/teach/<product>/collect/one")(self.take_one)
        routes.post("/teach/<product>/collect/stop")(self.stop)
        routes.post("/teach/<product>/images")(self.add_images)
        routes.post("/teach/<product>/reviewed")(self.add_reviewed)
        routes.post("/teach/<product>/move")(self.move)
        routes.post("/teach/<product>/remove")(self.remove)
        routes.get("/teach/<product>/pictures")(self.pictures)
        routes.post("/teach/<product>/without")(self.without)
        routes.post("/teach/<product>/learn")(self.learn)
        routes.post("/teach/<product>/learn/cancel")(self.cancel)
        routes.post("/models")(self.import_archive)
        routes.get("/products/<product>")(self.product)
        routes.post("/products/<product>/activate")(self.activate)
        routes.post("/products/<product>/rollback")(self.roll_back)
        routes.post("/products/<product>/trial")(self.try_version)
        routes.post("/products/<product>/promote")(self.promote)
        routes.post("/products/<product>/discard")(self.discard)
        routes.get("/products/<product>/threshold")(self.effect)
        routes.post("/products/<product>/threshold")(self.save_threshold)
        return routes

    def begin(self) -> Response:
        """Begin to teach a product."""
        by = self._forms.who
        body = self._body(BeginBody)
        with refuse_troubles():
            self._teaching.begin(body.product, body.index, by)
        return self._state(body.product)

    def state(self, product: str) -> Response:
        """Send the data set, the collection and the learning."""
        self._find(product)
        return self._state(product)

    def area(self, product: str) -> Response:
        """Set what of the frames is inspected."""
        by = self._forms.who
        self._find(product)
        body = self._body(AreaBody)
        with refuse_troubles():
            self._teaching.save_area(product, body.roi, body.strokes, by)
        return self._state(product)

    def regions(self, product: str) -> Response:
        """Set the regions of the recipe."""
        by = self._forms.who
        self._find(product)
        body = self._body(RegionsBody)
        with refuse_troubles():
            self._teaching.save_regions(product, [one.region for one in body.regions], by)
        return self._state(product)

    def collect(self, product: str) -> Response:
        """Keep the next frames."""
        by = self._forms.who
        self._find(product)
        body = self._body(CollectBody)
        with refuse_troubles():
            self._teaching.collect(product, body.place, body.count, by)
        return self._state(product)

    def take_one(self, product: str) -> Response:
        """Keep the newest frame."""
        by = self._forms.who
        self._find(product)
        body = self._body(PlaceBody)
        with refuse_troubles():
            self._teaching.take_one(product, body.place, by)
        return self._state(product)

    def stop(self, product: str) -> Response:
        """End the collection."""
        by = self._forms.who
        self._find(product)
        with refuse_troubles():
            self._teaching.stop_collecting(by)
        return self._state(product)

    def add_images(self, product: str) -> Response:
        """Add uploaded images."""
        by = self._forms.who
        self._find(product)
        files = list(self._forms.files())
        with refuse_troubles():
            self._teaching.add_pictures(product, self._forms.place(), files, by)
        return self._state(product)

    def add_reviewed(self, product: str) -> Response:
        """Add the images of reviewed parts."""
        by = self._forms.who
        self._find(product)
        with refuse_troubles():
            added = self._teaching.add_reviewed(product, by)
        return jsonify(dict(added))

    def move(self, product: str) -> Response:
        """Move images to another place."""
        by = self._forms.who
        self._find(product)
        body = self._body(MoveBody)
        with refuse_troubles():
            self._teaching.move(product, body.place, body.names, body.to, by)
        return self._state(product)

    def remove(self, product: str) -> Response:
        """Delete images that were left out."""
        by = self._forms.who
        self._find(product)
        body = self._body(RemoveBody)
        with refuse_troubles():
            self._teaching.remove(product, body.names, by)
        return self._state(product)

    def pictures(self, product: str) -> Response:
        """Send images with their scores."""
        self._find(product)
        asked = self._forms.curate(request.args)
        with refuse_troubles():
            found = asdict(
                self._teaching.curated(product, asked.place, asked.version, asked.order, asked.page)
            )
        for picture in found["pictures"]:
            if picture["raw"] is not None:
                picture["raw"] = min(picture["raw"], RAW_MAX)
        return jsonify(found)

    def without(self, product: str) -> Response:
        """Send what learning without some images would come to."""
        self._find(product)
        body = self._body(WithoutBody)
        with refuse_troubles():
            found = self._teaching.threshold_without(product, body.version, body.names)
        return jsonify(asdict(found) if found else None)

    def learn(self, product: str) -> Response:
        """Begin to learn."""
        by = self._forms.who
        self._find(product)
        body = self._body(LearnBody)
        with refuse_troubles():
            self._teaching.learn(product, by, body.false_reject, body.detail)
        return self._state(product)

    def cancel(self, product: str) -> Response:
        """End learning."""
        by = self._forms.who
        self._find(product)
        with refuse_troubles():
            self._teaching.cancel_learning(by)
        return self._state(product)

    def import_archive(self) -> Response:
        """Add the version in an archive."""
        by = self._forms.who
        name, data = self._forms.archive()
        with refuse_troubles():
            product, version = self._teaching.import_archive(name, data, by)
        return jsonify({"product": product, "version": version})

    def product(self, product: str) -> Response:
        """Send the versions and the trial."""
        self._find(product)
        return self._product(product)

    def activate(self, product: str) -> Response:
        """Make a version the active one."""
        by = self._forms.who
        self._find(product)
        version = self._body(VersionBody).version
        with refuse_troubles():
            self._teaching.activate(product, version, by)
        return self._product(product)

    def roll_back(self, product: str) -> Response:
        """Make the version before the active one."""
        by = self._forms.who
        self._find(product)
        with refuse_troubles():
            self._teaching.roll_back(product, by)
        return self._product(product)

    def try_version(self, product: str) -> Response:
        """Put a version on trial."""
        by = self._forms.who
        self._find(product)
        version = self._body(VersionBody).version
        with refuse_troubles():
            self._teaching.try_version(product, version, by)
        return self._product(product)

    def promote(self, product: str) -> Response:
        """Make the version on trial the active one."""
        by = self._forms.who
        self._find(product)
        with refuse_troubles():
            self._teaching.promote(product, by)
        return self._product(product)

    def discard(self, product: str) -> Response:
        """End the trial."""
        by = self._forms.who
        self._find(product)
        with refuse_troubles():
            self._teaching.discard(product, by)
        return self._product(product)

    def effect(self, product: str) -> Response:
        """Send what a threshold would do."""
        self._find(product)
        word = request.args.get("threshold", "")
        wanted = self._forms.threshold(word) if word else None
        with refuse_troubles():
            found = asdict(self._teaching.effect(product, wanted, LAST))
        for change in found["changes"]:
            change["raw"] = min(change["raw"], RAW_MAX)
        return jsonify(found)

    def save_threshold(self, product: str) -> Response:
        """Write and activate a version with a threshold."""
        by = self._forms.who
        self._find(product)
        threshold = self._body(ThresholdBody).threshold
        with refuse_troubles():
            self._teaching.save_threshold(product, threshold, by)
        return self._product(product)

    def _state(self, product: str) -> Response:
        with refuse_troubles():
            return jsonify(
                {
                    "product": product,
                    "area": asdict(self._teaching.area(product)),
                    "regions": [_region(one) for one in self._teaching.regions(product)],
                    "places": dict(self._teaching.places(product)),
                    "collecting": asdict(self._teaching.collecting()),
                    "learning": asdict(self._teaching.learning()),
                    "learning_unavailable": self._teaching.learning_unavailable(),
                }
            )

    def _product(self, product: str) -> Response:
        trial = self._teaching.trial(product)
        versions = []
        for version in self._teaching.versions(product):
            facts = asdict(version)
            facts["measured"] = _finite(dict(version.measured.metrics)) if version.measured else None
            versions.append(facts)
        return jsonify(
            {
                "product": product,
                "used": self._teaching.version_used(product),
                "versions": versions,
                "trial": asdict(trial) if trial else None,
            }
        )

    def _find(self, product: str) -> None:
        find_product(self._backend.products, product, self._forms.texts["error_unknown_product"])

    def _body(self, model: type[Model]) -> Model:
        """Return the JSON body; aborts with 400."""
        assert issubclass(model, BaseModel)
        try:
            body = loads(request.get_data())
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict):
            abort(400, self._forms.texts["error_not_json"])
        return self._forms.read(model, body)


def _region(region: Region) -> dict[str, Any]:
    """Return a region with the keys of a recipe."""
    return {
        "name": region.name,
        "roi": list(region.roi),
        "threshold_factor": region.factor if region.threshold is None else None,
        "threshold": region.threshold,
        "min_defect_px": region.min_defect_px,
    }


def _finite(metrics: dict[str, Any]) -> dict[str, Any]:
    """Return figures without infinities, which JSON lacks."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in metrics.items()
    }
