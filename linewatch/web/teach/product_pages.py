"""The page of one product: its versions, trial, threshold and audit; each change in two taps."""

from collections.abc import Sequence

from flask import Blueprint, Response, abort, make_response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from linewatch.errors import LinewatchError
from linewatch.teaching import ThresholdEffect
from linewatch.vision.recipe import Region
from linewatch.web.backend import Backend, ProductInfo
from linewatch.web.pages import REPORT_POLICY
from linewatch.web.params import or_again
from linewatch.web.teach.forms import Forms, action_of, refuse_troubles
from linewatch.web.teach.interface import Teaching
from linewatch.web.teach.pages import LAST, find_product


class ProductPages:
    """Routes below `/products/NAME`. Whatever changes something needs an engineer."""

    def __init__(self, teaching: Teaching, backend: Backend, forms: Forms) -> None:
        self._teaching = teaching
        self._backend = backend
        self._forms = forms

    def blueprint(self) -> Blueprint:
        """Return the routes."""
        routes = Blueprint("product", __name__, url_prefix="/products")
        routes.get("/<product>")(self.product)
        routes.post("/<product>")(self.change)
        routes.get("/<product>/threshold")(self.threshold)
        routes.post("/<product>/threshold")(self.save_threshold)
        routes.get("/<product>/trial")(self.trial)
        routes.get("/<product>/<version>/measured")(self.measured)
        return routes

    def product(self, product: str) -> str:
        """Show a product's versions, trial and audit."""
        found = self._find(product)
        versions = self._teaching.versions(product)
        return render_template(
            "teach/product.html",
            product=found,
            versions=versions,
            used=self._teaching.version_used(product),
            active=next((version.version for version in versions if version.active), ""),
            pin=self._teaching.pin_warning(product),
            trial=self._teaching.trial(product),
            regions=self._regions(product),
            audit=self._teaching.audit(product),
            done=request.args.get("done", ""),
        )

    def change(self, product: str) -> AnyResponse:
        """Activate, roll back, try, promote or discard a version."""
        self._find(product)
        return or_again(lambda: self._change(product), lambda: self.product(product), self._forms.texts)

    def _change(self, product: str) -> AnyResponse:
        by, action = self._forms.who, action_of(request)
        match action:
            case "activate":
                self._teaching.activate(product, self._forms.version(), by)
            case "try":
                self._teaching.try_version(product, self._forms.version(), by)
            case "rollback":
                self._teaching.roll_back(product, by)
            case "promote":
                self._teaching.promote(product, by)
            case "discard":
                self._teaching.discard(product, by)
            case _:
                abort(400)
        return redirect(url_for(".product", product=product, done=action), 303)

    def threshold(self, product: str) -> AnyResponse:
        """Show what a threshold would do to the latest parts and the labelled images."""
        word = request.args.get("threshold", "")

        def show() -> AnyResponse:
            wanted = self._forms.threshold(word) if word else None
            return make_response(self._threshold(product, wanted))

        return or_again(show, lambda: self._threshold(product, word=word), self._forms.texts)

    def _threshold(self, product: str, wanted: float | None = None, word: str = "") -> str:
        """Return the page; `word` is what was typed and is no threshold, or one that is refused."""
        found = self._find(product)
        effect: ThresholdEffect | None = None
        if found.version:
            with refuse_troubles():
                effect = self._teaching.effect(product, wanted, LAST)
        return render_template("teach/threshold.html", product=found, effect=effect, word=word)

    def save_threshold(self, product: str) -> AnyResponse:
        """Write and activate a version with the chosen threshold."""
        self._find(product)
        word = request.form.get("threshold", "")
        wanted: float | None = None

        def save() -> AnyResponse:
            nonlocal wanted
            wanted = self._forms.threshold(word)
            self._teaching.save_threshold(product, wanted, self._forms.who)
            return redirect(url_for(".product", product=product, done="threshold"), 303)

        return or_again(save, lambda: self._threshold(product, wanted, word), self._forms.texts)

    def trial(self, product: str) -> Response:
        """Send the comparison with the version on trial, with images."""
        return self._report(self._teaching.trial_report(product))

    def measured(self, product: str, version: str) -> Response:
        """Send what a version makes of the labelled images."""
        with refuse_troubles(404):
            return self._report(self._teaching.measured_report(product, version))

    def _regions(self, product: str) -> Sequence[Region]:
        try:
            return self._teaching.regions(product)
        except LinewatchError:  # The page says below the heading what is wrong with the recipe.
            return ()

    def _find(self, product: str) -> ProductInfo:
        return find_product(self._backend.products, product, self._forms.texts["error_unknown_product"])

    def _report(self, html: bytes | None) -> Response:
        if html is None:
            abort(404, self._forms.texts["error_no_report"])
        response = make_response(html)
        response.headers["Content-Security-Policy"] = REPORT_POLICY
        return response
