"""Pages for engineers: teach a product step by step, without a terminal."""

from collections.abc import Callable, Sequence

from flask import Blueprint, Response, abort, redirect, render_template, request, send_file, url_for
from werkzeug.wrappers import Response as AnyResponse

from linewatch.teaching import LEFT_OUT, TEST, TRAIN_GOOD
from linewatch.web.backend import Backend, ProductInfo
from linewatch.web.params import or_again, trouble
from linewatch.web.teach.forms import CurateQuery, Forms, action_of, refuse_troubles, region_rows
from linewatch.web.teach.interface import Teaching

STEPS = ("look", "collect", "sort", "learn", "judge", "activate")
IMAGE_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}
LAST = 1000


class TeachPages:
    """Routes below `/teach`. Whatever changes something needs an engineer."""

    def __init__(self, teaching: Teaching, backend: Backend, forms: Forms) -> None:
        self._teaching = teaching
        self._backend = backend
        self._forms = forms

    def blueprint(self) -> Blueprint:
        """Return the routes."""
        routes = Blueprint("teach", __name__, url_prefix="/teach")
        routes.get("")(self.products)
        routes.post("")(self.begin)
        routes.get("/frame.jpg")(self.frame)
        routes.get("/archive")(self.archive)
        routes.post("/archive")(self.import_archive)
        for step in STEPS:
            routes.get(f"/<product>/{step}", endpoint=step)(getattr(self, step))
        routes.post("/<product>/look")(self.save_area)
        routes.get("/<product>/regions")(self.regions)
        routes.post("/<product>/regions")(self.save_regions)
        routes.post("/<product>/collect")(self.collecting)
        routes.post("/<product>/sort")(self.sorting)
        routes.post("/<product>/learn")(self.learning)
        routes.get("/<product>/thumbnail")(self.thumbnail)
        routes.get("/<product>/image")(self.image)
        routes.get("/<product>/map")(self.score_map)
        return routes

    def products(self) -> str:
        """List the products, and offer to begin another one."""
        products = self._backend.products()
        used = {product.index for product in products}
        return render_template(
            "teach/products.html",
            products=products,
            places={product.name: self._places(product.name) for product in products},
            learning=self._teaching.learning(),
            free=next((number for number in range(1, 1000) if number not in used), 0),
        )

    def begin(self) -> AnyResponse:
        """Write the recipe of a new product and go on to look at its frames."""

        def begin() -> AnyResponse:
            form = self._forms.begin()
            self._teaching.begin(form.product, form.index, self._forms.who)
            return redirect(url_for(".look", product=form.product), 303)

        return self._or_again(begin, self.products)

    def look(self, product: str) -> str:
        """Show the live picture with light and sharpness, and the inspected area."""
        self._product(product)
        with refuse_troubles():
            area, regions = self._teaching.area(product), self._teaching.regions(product)
        refused = trouble() and request.endpoint == "teach.save_regions"
        rows = self._forms.region_rows() if refused else region_rows(regions)
        frame = self._teaching.live_frame()
        return self._step("look", product, frame=frame, area=area, rows=rows)

    def save_area(self, product: str) -> AnyResponse:
        """Store the region and the mask in the recipe."""

        def save() -> AnyResponse:
            form = self._forms.area()
            self._teaching.save_area(product, form.roi, form.strokes, self._forms.who)
            return redirect(url_for(".look", product=product, done="area"), 303)

        self._product(product)
        return self._or_again(save, lambda: self.look(product))

    def regions(self, product: str) -> AnyResponse:
        """Lead to the page that the form is on: what was refused is shown at this address."""
        return redirect(url_for(".look", product=product), 303)

    def save_regions(self, product: str) -> AnyResponse:
        """Store the regions in the recipe."""

        def save() -> AnyResponse:
            self._teaching.save_regions(product, self._forms.regions(), self._forms.who)
            return redirect(url_for(".look", product=product, done="regions"), 303)

        self._product(product)
        return self._or_again(save, lambda: self.look(product))

    def collect(self, product: str) -> str:
        """Show how collecting goes."""
        return self._step(
            "collect", product, collecting=self._teaching.collecting(), frame=self._teaching.live_frame()
        )

    def collecting(self, product: str) -> AnyResponse:
        """Begin or end a collection, take one frame, add uploaded images or reviewed parts."""
        self._product(product)
        return self._or_again(lambda: self._collecting(product), lambda: self.collect(product))

    def _collecting(self, product: str) -> AnyResponse:
        by, done = self._forms.who, "collect"
        match action_of(request):
            case "one":
                self._teaching.take_one(product, self._forms.place(), by)
                done = "one"
            case "stop":
                self._teaching.stop_collecting(by)
            case "reviewed":
                added = self._teaching.add_reviewed(product, by)
                done = f"reviewed-{added['good']}-{added['defect']}"
            case "upload":
                files = list(self._forms.files())
                self._teaching.add_pictures(product, self._forms.place(), files, by)
                done = "upload"
            case _:
                self._teaching.collect(product, self._forms.place(), self._forms.count(), by)
        return redirect(url_for(".collect", product=product, done=done), 303)

    def sort(self, product: str) -> str:
        """Show the images of one place, those that are suspicious first."""
        return self._sort(product, self._forms.curate(request.args))

    def sorting(self, product: str) -> AnyResponse | str:
        """Move the chosen images, delete those that were left out before, or predict what it would change."""
        self._product(product)
        action, names = action_of(request), request.form.getlist("name")
        asked = self._forms.curate(request.form)
        if action == "predict":
            return self._sort(product, asked, names)
        return self._or_again(
            lambda: self._sorting(product, action, asked, names), lambda: self._sort(product, asked, names)
        )

    def _sorting(self, product: str, action: str, asked: CurateQuery, names: Sequence[str]) -> AnyResponse:
        if not names:
            abort(400, self._forms.texts["teach_error_none_chosen"])
        if action == "remove":
            self._teaching.remove(product, names, self._forms.who)
        else:
            self._teaching.move(product, asked.place, names, self._forms.target(), self._forms.who)
        return redirect(url_for(".sort", product=product, **asked.model_dump(exclude_defaults=True)), 303)

    def _sort(self, product: str, asked: CurateQuery, names: Sequence[str] = ()) -> str:
        """Show images with the chosen ones checked, and what leaving these out would change."""
        with refuse_troubles():
            curated = self._teaching.curated(product, asked.place, asked.version, asked.order, asked.page)
            good = asked.place == TRAIN_GOOD
            without = self._teaching.threshold_without(product, asked.version, names) if good else None
        return self._step("sort", product, place=asked.place, curated=curated, chosen=names, without=without)

    def learn(self, product: str) -> str:
        """Show how learning goes."""
        return self._step(
            "learn",
            product,
            learning=self._teaching.learning(),
            unavailable=self._teaching.learning_unavailable(),
        )

    def learning(self, product: str) -> AnyResponse:
        """Begin to learn, or cancel it."""

        def learn() -> AnyResponse:
            if action_of(request) == "cancel":
                self._teaching.cancel_learning(self._forms.who)
            else:
                form = self._forms.learn()
                self._teaching.learn(product, self._forms.who, form.false_reject, form.detail)
            return redirect(url_for(".learn", product=product), 303)

        self._product(product)
        return self._or_again(learn, lambda: self.learn(product))

    def judge(self, product: str) -> str:
        """Show what the newest version learnt, and what it would do."""
        with refuse_troubles():
            regions = self._teaching.regions(product)
        return self._step("judge", product, versions=self._teaching.versions(product), regions=regions)

    def activate(self, product: str) -> str:
        """Offer to use a version on the line."""
        return self._step(
            "activate",
            product,
            versions=self._teaching.versions(product),
            used=self._teaching.version_used(product),
            pin=self._teaching.pin_warning(product),
        )

    def archive(self) -> AnyResponse:
        """Lead to the page that the form is on: what was refused is shown at this address."""
        return redirect(url_for(".products"), 303)

    def import_archive(self) -> AnyResponse:
        """Add the version in an uploaded archive."""

        def add() -> AnyResponse:
            name, data = self._forms.archive()
            product, _ = self._teaching.import_archive(name, data, self._forms.who)
            return redirect(url_for("product.product", product=product, done="import"), 303)

        return self._or_again(add, self.products)

    def frame(self) -> Response:
        """Send the newest frame as it was taken."""
        frame = self._teaching.live_frame()
        if frame is None:
            abort(404, self._forms.texts["error_no_picture"])
        return Response(frame.jpeg, mimetype="image/jpeg")

    def thumbnail(self, product: str) -> Response:
        """Send a small image of the data set."""
        with refuse_troubles(404):
            image = self._teaching.thumbnail(product, *_chosen())
        return self._small(image)

    def score_map(self, product: str) -> Response:
        """Send the score map of an image."""
        with refuse_troubles(404):
            image = self._teaching.score_map(product, request.args.get("key", ""), *_chosen())
        return self._small(image)

    def image(self, product: str) -> AnyResponse:
        """Send an image of the data set as it is stored."""
        with refuse_troubles(404):
            path = self._teaching.picture_file(product, *_chosen())
        kind = IMAGE_TYPES.get(path.suffix.lower(), "application/octet-stream")
        return send_file(path.resolve(), mimetype=kind, conditional=True)

    def _small(self, image: bytes | None) -> Response:
        if image is None:
            abort(404, self._forms.texts["error_no_picture"])
        response = Response(image, mimetype="image/webp")
        response.headers["Cache-Control"] = "private, max-age=60"
        return response

    def _step(self, step: str, product: str, **facts: object) -> str:
        return render_template(
            f"teach/{step}.html",
            step=step,
            steps=STEPS,
            product=self._product(product),
            places=self._places(product),
            done=request.args.get("done", ""),
            train_good=TRAIN_GOOD,
            left_out=LEFT_OUT,
            test=TEST,
            active=self._teaching.active_version(product),
            **facts,
        )

    def _or_again(self, change: Callable[[], AnyResponse], page: Callable[[], str]) -> AnyResponse:
        """Return what `change` answers; if it is refused, its page with the reason and what was typed."""
        return or_again(change, page, self._forms.texts)

    def _places(self, product: str) -> dict[str, int]:
        with refuse_troubles(404):
            return dict(self._teaching.places(product))

    def _product(self, name: str) -> ProductInfo:
        return find_product(self._backend.products, name, self._forms.texts["error_unknown_product"])


def _chosen() -> tuple[str, str]:
    """Return place and name of the image that the address names."""
    return request.args.get("place", ""), request.args.get("name", "")


def find_product(products: Callable[[], Sequence[ProductInfo]], name: str, sentence: str) -> ProductInfo:
    """Return the product of that name; aborts with 404 and `sentence` if there is none."""
    found = next((product for product in products() if product.name == name), None)
    if found is None:
        abort(404, sentence)
    return found
