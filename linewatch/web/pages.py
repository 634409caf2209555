"""Pages for people: forms and links that work without JavaScript."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from flask import Blueprint, Response, abort, make_response, redirect, render_template, request, url_for
from markupsafe import Markup
from werkzeug.wrappers import Response as AnyResponse

from linewatch.domain import Reason, Result, Verdict
from linewatch.errors import LinewatchError
from linewatch.web.backend import Backend, ExportForm, FoundRows, Hour, LiveImage, Query, Row, key_of
from linewatch.web.cache import ImageCache, TimedCache
from linewatch.web.charts import defect_rate, hour_chart, parts_of, score_chart
from linewatch.web.formatting import clock_hour, is_scored, midnight_ms
from linewatch.web.params import read_page_query, read_review
from linewatch.web.people.access import AccessControl
from linewatch.web.promise.params import read_reinspection_query
from linewatch.web.texts import Languages, languages
from linewatch.web.uploads import Uploads

LIVE_FRESH_S = 0.5
LIVE_IMAGES_MAX = 8
TREND_PARTS = 60
STRIP_PARTS = 12
HISTORY_LIMIT = 40
QUEUE_MAX = 100
FILE_NAME_CHARACTERS_MAX = 100
FILTER = ("from", "to", "product", "part", "region", "reason", "model", "reviewer")
REVIEW_RESULTS = frozenset({Result.FAIL, Result.UNSURE})
REVIEW_REASONS = (
    Reason.ABOVE_THRESHOLD,
    Reason.NEAR_THRESHOLD,
    Reason.NOT_REGISTERED,
    Reason.WRONG_PRODUCT,
)
REPORT_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; sandbox; frame-ancestors 'none'"
)

BOARDS_MAX = 8  # Path prefixes (one, and a second for local access) times languages.
LANGUAGE_S = 365 * 86_400
_OWN_ADDRESS = re.compile(r"/(?!/)[A-Za-z0-9/?=&%.,:~_+-]*")


class Pages:
    """Routes that answer with HTML, and the images on those pages that are not evidence."""

    def __init__(
        self, backend: Backend, access: AccessControl, uploads: Uploads, languages: Languages
    ) -> None:
        self._backend = backend
        self._access = access
        self._uploads = uploads
        self._languages = languages
        self._texts = languages.texts
        self._live: dict[tuple[str, str], TimedCache[str]] = {}
        self._live_images = ImageCache(LIVE_IMAGES_MAX)

    def blueprint(self) -> Blueprint:
        """Return the routes."""
        routes = Blueprint("pages", __name__)
        routes.get("/")(self.live)
        routes.get("/live.jpg")(self.live_image)
        routes.get("/inspect")(self.inspect)
        routes.post("/inspect")(self.inspect_upload)
        routes.get("/heatmap/<name>.jpg", endpoint="heatmap")(self.upload_image)
        routes.get("/picture/<name>.jpg", endpoint="picture")(self.upload_image)
        routes.get("/history")(self.history)
        routes.get("/history/<ordinal:boot>/<ordinal:seq>")(self.part)
        routes.post("/history/<ordinal:boot>/<ordinal:seq>")(self.save_review)
        routes.get("/review")(self.review)
        routes.get("/reinspect")(self.reinspect)
        routes.get("/products")(self.products)
        routes.post("/products")(self.switch)
        routes.get("/products/<product>/<version>/report")(self.report)
        routes.get("/products/<product>/<version>/good.png")(self.golden)
        routes.post("/language")(self.choose_language)
        return routes

    def live(self) -> str | AnyResponse:
        """Show the newest image, the last verdicts and today's figures."""
        if not self._backend.has_line:
            return redirect(url_for(".inspect"))
        key = request.script_root, self._languages.current.code  # The board differs by these only.
        if key not in self._live and len(self._live) == BOARDS_MAX:
            board = self._render_board()
        else:
            board = self._live.setdefault(key, TimedCache(self._render_board, LIVE_FRESH_S)).get()
        return render_template("live.html", board=Markup(board))

    def live_image(self) -> AnyResponse:
        """Send the newest judged image, or with `at` the one that the live page refers to."""
        at = request.args.get("at", "")
        jpeg = self._live_images.get(at)
        if jpeg is None:
            newest = self._backend.live_image()
            if newest is None:
                abort(404, self._texts["error_no_picture"])
            jpeg, at = newest.jpeg, newest.etag
        response = Response(jpeg, mimetype="image/jpeg")
        response.set_etag(at)
        response.headers["Cache-Control"] = "no-cache"  # Cached, but validated each time with the ETag.
        return response.make_conditional(request)

    def inspect(self) -> str:
        """Show the upload form."""
        return self._inspect_page()

    def inspect_upload(self) -> str:
        """Show the verdict on an uploaded image."""
        result = self._uploads.inspect()
        return self._inspect_page(
            verdict=result.verdict,
            file=shown_name(request.files["image"].filename or ""),
            picture=self._uploads.keep(result.image),
            heatmap=self._uploads.keep(result.heatmap),
            good=self._good(result.verdict),
        )

    def upload_image(self, name: str) -> Response:
        """Send the heatmap or the image of a recent upload; its name cannot be guessed."""
        jpeg = self._uploads.image(name)
        if jpeg is None:
            abort(404, self._texts["error_no_picture"])
        return Response(jpeg, mimetype="image/jpeg")

    def history(self) -> str:
        """List verdicts by time, product, part, region, result and reason."""
        query = read_page_query(request.args, self._texts, limit=HISTORY_LIMIT)
        found = self._backend.search(query)
        chosen = _chosen(request.args, "result")
        return render_template(
            "history.html",
            rows=found.rows,
            searched_to_ms=None if len(found.rows) == query.limit else found.searched_to_ms,
            asked=query,
            chosen=chosen,
            older=_older(".history", chosen, found),
            newest=url_for(".history", **chosen) if query.before else None,
            counted=None if query.before else self._backend.count(query),
            exports={form: url_for("exports.export", **chosen, format=form) for form in ExportForm},
            storage=self._backend.storage(),
            products=self._backend.products(),
        )

    def part(self, boot: int, seq: int) -> str:
        """Show one part: its image, its heatmap and a good part for comparison."""
        row = self._row(boot, seq)
        return render_template("part.html", row=row, good=self._good(row.verdict))

    def save_review(self, boot: int, seq: int) -> AnyResponse:
        """Store the operator's review, then show the queue or the part again."""
        review = read_review(request.form, self._texts)
        if not self._backend.review(boot, seq, review.actual, review.note, self._access.who):
            abort(404, self._texts["error_no_verdict"])
        if request.form.get("then") == "review":
            # With filter and position, so that skipped parts stay skipped.
            position = _chosen(request.form, "before")
            return redirect(url_for(".review", **position, done=f"{boot}-{seq}"), 303)
        if request.form.get("then") == "reinspect":
            position = {name: request.form[name] for name in ("after", "product") if request.form.get(name)}
            return redirect(url_for(".reinspect", **position, done=f"{boot}-{seq}"), 303)
        return redirect(url_for(".part", boot=boot, seq=seq), 303)

    def review(self) -> str:
        """Show the newest part that waits for review, and those behind it."""
        asked = read_page_query(request.args, self._texts, limit=QUEUE_MAX)
        found = self._backend.search(replace(asked, limit=QUEUE_MAX, results=REVIEW_RESULTS, reviewed=False))
        queue = found.rows
        row = queue[0] if queue else None
        chosen = _chosen(request.args)
        return render_template(
            "review.html",
            row=row,
            good=self._good(row.verdict) if row else "",
            queue=queue,
            searched_to_ms=found.searched_to_ms,
            older=_older(".review", chosen, found),
            asked=asked,
            before=request.args.get("before", ""),
            chosen=chosen,
            reasons=REVIEW_REASONS,
            skip=_skip(chosen, found),
            first=url_for(".review", **chosen) if asked.before else "",
            products=self._backend.products(),
            done=self._done(),
            promises=self._backend.records.promises(),
            waiting=self._backend.records.reinspections_waiting(),
        )

    def reinspect(self) -> str:
        """Show the oldest drawn PASS part that is unmarked, without its score, and how many wait."""
        args: dict[str, Any] = {
            name: request.args[name] for name in ("after", "product") if request.args.get(name)
        }
        asked = read_reinspection_query(args, self._texts)
        drawn = self._backend.records.reinspections(2, asked.after, asked.product)
        verdict = drawn[0] if drawn else None
        behind = args | {"after": key_of((verdict.boot, verdict.seq))} if verdict else {}
        product: dict[str, Any] = {"product": asked.product} if asked.product else {}
        return render_template(
            "promise/reinspect.html",
            verdict=verdict,
            good=self._good(verdict) if verdict else "",
            waiting=self._backend.records.reinspections_waiting(),
            chosen=args,
            skip=url_for(".reinspect", **behind) if len(drawn) > 1 else "",
            first=url_for(".reinspect", **product) if "after" in args else "",
            done=self._done(),
        )

    def products(self) -> str:
        """List the products with their models."""
        return render_template("products.html", products=self._backend.products())

    def switch(self) -> AnyResponse:
        """Change over to another product and list the products again."""
        product = request.form.get("product", "")
        if all(product != known.name for known in self._backend.products()):
            abort(404, self._texts["error_unknown_product"])
        try:
            self._backend.switch(product, self._access.who)
        except LinewatchError as error:
            abort(409, str(error))
        return redirect(url_for(".products"), 303)

    def report(self, product: str, version: str) -> Response:
        """Send a model's training report, with a policy that allows styles but no scripts."""
        known = {(p.name, m.version) for p in self._backend.products() for m in p.models if m.report}
        html = self._backend.report(product, version) if (product, version) in known else None
        if html is None:
            abort(404, self._texts["error_no_report"])
        response = make_response(html)
        response.headers["Content-Security-Policy"] = REPORT_POLICY
        return response

    def golden(self, product: str, version: str) -> Response:
        """Send a good golden sample of a model, for comparison."""
        png = self._golden(product, version)
        if png is None:
            abort(404, self._texts["error_no_picture"])
        return Response(png, mimetype="image/png")

    def choose_language(self) -> AnyResponse:
        """Remember the language in a cookie and return to the page."""
        response = redirect(return_path(), 303)
        code = request.form.get("language", "")
        if code in languages():
            response.set_cookie(
                self._languages.cookie, code, max_age=LANGUAGE_S, httponly=True, samesite="Lax"
            )
        return response

    def _render_board(self) -> str:
        """Render the board for all clients of one language: nothing else may depend on the request."""
        live = self._backend.live_image()
        rows = self._backend.search(Query(limit=TREND_PARTS)).rows
        verdicts = _up_to([row.verdict for row in rows], live)
        if live is not None:
            self._live_images.put(live.etag, live.jpeg)
        hours = self._backend.hours(midnight_ms())
        today = Hour(0, {result: sum(h.counts.get(result, 0) for h in hours) for result in Result})
        return render_template(
            "board.html",
            last=verdicts[0] if verdicts else None,
            strip=verdicts[:STRIP_PARTS],
            live=live,
            today=today,
            parts=parts_of(today),
            rate=defect_rate(today),
            scores=score_chart(verdicts, TREND_PARTS),
            hours=hour_chart([(clock_hour(hour.start_ms), hour) for hour in hours]),
            reasons=self._backend.not_ready(),
            promises=self._backend.records.known_promises(),
        )

    def _inspect_page(self, **result: object) -> str:
        products = self._backend.products()
        chosen = request.form.get("product") or str(self._backend.state().get("product", ""))
        return render_template("inspect.html", products=products, chosen=chosen, **result)

    def _row(self, boot: int, seq: int) -> Row:
        row = self._backend.verdict(boot, seq)
        if row is None:
            abort(404, self._texts["error_no_verdict"])
        return row

    def _good(self, verdict: Verdict) -> str:
        """Return the address of a good part for comparison, "" if there is none."""
        path = self._backend.good_image(verdict)
        if path:
            return url_for("evidence", path=path)
        if self._golden(verdict.product, verdict.model) is None:
            return ""
        return url_for(".golden", product=verdict.product, version=verdict.model)

    def _golden(self, product: str, version: str) -> bytes | None:
        known = {(p.name, m.version) for p in self._backend.products() for m in p.models}
        return self._backend.golden_image(product, version) if (product, version) in known else None

    def _done(self) -> Row | None:
        """Return the part that was just reviewed, for the confirmation."""
        done = read_page_query({"before": request.args.get("done", "")}, self._texts, limit=1).before
        row = self._backend.verdict(*done) if done else None
        return row if row and row.review else None


def _up_to(newest_first: list[Verdict], live: LiveImage | None) -> list[Verdict]:
    """Return the verdicts to show beside an image: its own first, then older ones.

    A verdict is journaled shortly before its image is there. One that has no score needs no image and
    is shown at once. The image's own verdict is shown even when the journal could not store it.
    """
    if live is None:
        return newest_first
    shown = (live.verdict.boot, live.verdict.seq)
    older = [verdict for verdict in newest_first if (verdict.boot, verdict.seq) < shown]
    newest = newest_first[0] if newest_first else live.verdict
    without_image = (newest.boot, newest.seq) > shown and not is_scored(newest)
    return newest_first if without_image else [live.verdict, *older]


def _chosen(args: Mapping[str, str], *more: str) -> dict[str, Any]:
    """Return the parameters of the filter that are set, for links that keep it."""
    return {key: args[key] for key in (*FILTER, *more) if args.get(key)}


def _skip(chosen: dict[str, Any], found: FoundRows) -> str:
    """Return the address of the queue behind its first part, "" if there is nothing."""
    if not found.rows or (len(found.rows) == 1 and not found.searched_to):
        return ""
    first = found.rows[0].verdict
    return url_for(".review", **chosen, before=key_of((first.boot, first.seq)))


def _older(page: str, chosen: dict[str, Any], found: FoundRows) -> str:
    """Return the address where the search goes on, "" if nothing older is left."""
    return url_for(page, **chosen, before=key_of(found.searched_to)) if found.searched_to else ""


def shown_name(name: str) -> str:
    """Return the printable end of an uploaded file's name. It is untrusted, and only shown."""
    return "".join(letter for letter in name if letter.isprintable())[-FILE_NAME_CHARACTERS_MAX:]


def return_path() -> str:
    """Return `own_path` of the form below the path prefix, for a redirect."""
    return request.script_root + own_path(request.form)


def own_path(fields: Mapping[str, str]) -> str:
    """Return the field `then` if it is a path of this site, else "/"."""
    then = fields.get("then", "")
    return then if _OWN_ADDRESS.fullmatch(then) else "/"
