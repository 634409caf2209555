"""The pages for people: forms and links that work without JavaScript."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from flask import Blueprint, Response, abort, make_response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from linewatch.domain import Reason, Result, Verdict
from linewatch.errors import LinewatchError
from linewatch.web.auth import AccessControl
from linewatch.web.backend import Backend, Hour, LivePicture, Query, Row
from linewatch.web.cache import ImageCache, Shared
from linewatch.web.charts import defect_rate, hour_chart, parts_of, score_chart
from linewatch.web.formatting import clock_hour, is_scored, midnight_ms
from linewatch.web.params import read_query, read_review
from linewatch.web.texts import Language
from linewatch.web.uploads import Uploads

LIVE_FRESH_S = 0.5
LIVE_PICTURES_MAX = 8
TREND_PARTS = 60
STRIP_PARTS = 12
HISTORY_LIMIT = 40
QUEUE_MAX = 100
FILE_NAME_CHARACTERS_MAX = 100
FILTER = ("from", "to", "product", "reason")
HELD_BACK = frozenset({Result.FAIL, Result.UNSURE})
WHY_HELD_BACK = (
    Reason.ABOVE_THRESHOLD,
    Reason.NEAR_THRESHOLD,
    Reason.NOT_REGISTERED,
    Reason.WRONG_PRODUCT,
)
REPORT_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; sandbox; frame-ancestors 'none'"
)

_OWN_ADDRESS = re.compile(r"/(?!/)[A-Za-z0-9/?=&-]*")


class Pages:
    """Every address that answers with HTML, and the pictures on it that are not evidence."""

    def __init__(self, desk: Backend, gate: AccessControl, uploads: Uploads, language: Language) -> None:
        self._desk = desk
        self._gate = gate
        self._uploads = uploads
        self._texts = language.texts
        self._live = Shared(self._render_live, LIVE_FRESH_S)
        self._live_pictures = ImageCache(LIVE_PICTURES_MAX)

    def blueprint(self) -> Blueprint:
        """Return the routes."""
        routes = Blueprint("pages", __name__)
        routes.get("/")(self.live)
        routes.get("/live.jpg")(self.live_picture)
        routes.get("/inspect")(self.inspect)
        routes.post("/inspect")(self.inspect_upload)
        routes.get("/heatmap/<name>.jpg")(self.heatmap)
        routes.get("/picture/<name>.jpg", endpoint="picture")(self.heatmap)
        routes.get("/history")(self.history)
        routes.get("/history/<ordinal:boot>/<ordinal:seq>")(self.part)
        routes.post("/history/<ordinal:boot>/<ordinal:seq>")(self.mark)
        routes.get("/review")(self.review)
        routes.get("/products")(self.products)
        routes.post("/products")(self.switch)
        routes.get("/products/<product>/<version>/report")(self.report)
        routes.get("/products/<product>/<version>/good.png")(self.golden)
        routes.post("/sign-in")(self.sign_in)
        routes.post("/sign-out")(self.sign_out)
        return routes

    def live(self) -> str | AnyResponse:
        """Show what the camera sees and how the line does."""
        return self._live.get() if self._desk.has_line else redirect(url_for(".inspect"))

    def live_picture(self) -> AnyResponse:
        """Give the newest judged picture, or with `at` the one that the live page spoke of."""
        at = request.args.get("at", "")
        jpeg = self._live_pictures.get(at)
        if jpeg is None:
            picture = self._desk.live_picture()
            if picture is None:
                abort(404, self._texts["error_no_picture"])
            jpeg, at = picture.jpeg, picture.etag
        response = Response(jpeg, mimetype="image/jpeg")
        response.set_etag(at)
        response.headers["Cache-Control"] = "no-cache"  # Kept, but asked for again: 304 costs nothing.
        return response.make_conditional(request)

    def inspect(self) -> str:
        """Offer the upload form."""
        return self._inspect_page()

    def inspect_upload(self) -> str:
        """Show the verdict on an uploaded picture."""
        result = self._uploads.inspect()
        return self._inspect_page(
            verdict=result.verdict,
            file=shown_name(request.files["image"].filename or ""),
            picture=self._uploads.keep(result.picture),
            heatmap=self._uploads.keep(result.heatmap),
            good=self._good(result.verdict),
        )

    def heatmap(self, name: str) -> Response:
        """Give the heatmap of a recent upload, or its picture, to whoever knows its name."""
        jpeg = self._uploads.picture(name)
        if jpeg is None:
            abort(404, self._texts["error_no_picture"])
        return Response(jpeg, mimetype="image/jpeg")

    def history(self) -> str:
        """List verdicts by time, product, result and reason."""
        query = read_query(request.args, self._texts, limit=HISTORY_LIMIT)
        rows = self._desk.verdicts(query)
        chosen = _chosen(request.args, "result")
        older = None
        if len(rows) == query.limit:
            older = url_for(".history", **chosen, before=_key(rows[-1]))
        return render_template(
            "history.html",
            rows=rows,
            asked=query,
            chosen=chosen,
            older=older,
            newest=url_for(".history", **chosen) if query.before else None,
            products=self._desk.products(),
        )

    def part(self, boot: int, seq: int) -> str:
        """Show one part: its picture, its heatmap and a good one beside them."""
        row = self._row(boot, seq)
        return render_template("part.html", row=row, good=self._good(row.verdict))

    def mark(self, boot: int, seq: int) -> AnyResponse:
        """Keep what the operator found, then show the queue or the part again."""
        self._gate.require_session()
        actual, note = read_review(request.form, self._texts)
        if not self._desk.review(boot, seq, actual, note):
            abort(404, self._texts["error_no_verdict"])
        if request.form.get("then") == "review":
            # Where the queue stood and what was chosen: marking one part brings back no skipped ones.
            stood = _chosen(request.form, "before")
            return redirect(url_for(".review", **stood, done=f"{boot}-{seq}"), 303)
        return redirect(url_for(".part", boot=boot, seq=seq), 303)

    def review(self) -> str:
        """Show the newest part that was held back and not looked at again, and what waits behind it."""
        asked = read_query(request.args, self._texts, limit=QUEUE_MAX)
        queue = self._desk.verdicts(replace(asked, limit=QUEUE_MAX, results=HELD_BACK, reviewed=False))
        row = queue[0] if queue else None
        chosen = _chosen(request.args)
        return render_template(
            "review.html",
            row=row,
            good=self._good(row.verdict) if row else "",
            queue=queue,
            queue_max=QUEUE_MAX,
            asked=asked,
            before=request.args.get("before", ""),
            chosen=chosen,
            reasons=WHY_HELD_BACK,
            skip=url_for(".review", **chosen, before=_key(queue[0])) if len(queue) > 1 else "",
            first=url_for(".review", **chosen) if asked.before else "",
            products=self._desk.products(),
            done=self._done(),
        )

    def products(self) -> str:
        """Show what the station can inspect and with which models."""
        return render_template("products.html", products=self._desk.products())

    def switch(self) -> AnyResponse:
        """Change the product and show the products again."""
        self._gate.require_session()
        product = request.form.get("product", "")
        if all(product != known.name for known in self._desk.products()):
            abort(404, self._texts["error_unknown_product"])
        try:
            self._desk.switch(product)
        except LinewatchError as error:
            abort(409, str(error))
        return redirect(url_for(".products"), 303)

    def report(self, product: str, version: str) -> Response:
        """Give a model's training report; it may style itself but do nothing else."""
        known = {(p.name, m.version) for p in self._desk.products() for m in p.models if m.report}
        html = self._desk.report(product, version) if (product, version) in known else None
        if html is None:
            abort(404, self._texts["error_no_report"])
        response = make_response(html)
        response.headers["Content-Security-Policy"] = REPORT_POLICY
        return response

    def golden(self, product: str, version: str) -> Response:
        """Give a good sample of a model, to compare a part with."""
        picture = self._golden(product, version)
        if picture is None:
            abort(404, self._texts["error_no_picture"])
        return Response(picture, mimetype="image/png")

    def sign_in(self) -> AnyResponse:
        """Start the operator's session and go on where it was asked for."""
        self._gate.sign_in(request.form.get("token", ""))
        return redirect(way_back(), 303)

    def sign_out(self) -> AnyResponse:
        """End the operator's session."""
        self._gate.sign_out()
        return redirect(way_back(), 303)

    def _render_live(self) -> str:
        """Render for everybody: nothing here may depend on who asks."""
        picture = self._desk.live_picture()
        rows = self._desk.verdicts(Query(limit=TREND_PARTS))
        verdicts = _up_to([row.verdict for row in rows], picture)
        if picture is not None:
            self._live_pictures.keep(picture.etag, picture.jpeg)
        hours = self._desk.hours(midnight_ms())
        today = Hour(0, {result: sum(h.counts.get(result, 0) for h in hours) for result in Result})
        return render_template(
            "live.html",
            last=verdicts[0] if verdicts else None,
            strip=verdicts[:STRIP_PARTS],
            picture=picture,
            today=today,
            parts=parts_of(today),
            rate=defect_rate(today),
            scores=score_chart(verdicts, TREND_PARTS),
            hours=hour_chart([(clock_hour(hour.start_ms), hour) for hour in hours]),
            reasons=self._desk.not_ready(),
        )

    def _inspect_page(self, **result: object) -> str:
        products = self._desk.products()
        chosen = request.form.get("product") or str(self._desk.state().get("product", ""))
        return render_template("inspect.html", products=products, chosen=chosen, **result)

    def _row(self, boot: int, seq: int) -> Row:
        row = self._desk.verdict(boot, seq)
        if row is None:
            abort(404, self._texts["error_no_verdict"])
        return row

    def _good(self, verdict: Verdict) -> str:
        """Return the address of a good part to compare with, "" if there is none."""
        kept = self._desk.good_picture(verdict)
        if kept:
            return url_for("evidence", path=kept)
        if self._golden(verdict.product, verdict.model) is None:
            return ""
        return url_for(".golden", product=verdict.product, version=verdict.model)

    def _golden(self, product: str, version: str) -> bytes | None:
        known = {(p.name, m.version) for p in self._desk.products() for m in p.models}
        return self._desk.golden_picture(product, version) if (product, version) in known else None

    def _done(self) -> Row | None:
        """Return the part that was just marked, to say so."""
        done = read_query({"before": request.args.get("done", "")}, self._texts, limit=1).before
        row = self._desk.verdict(*done) if done else None
        return row if row and row.review else None


def _up_to(newest_first: list[Verdict], picture: LivePicture | None) -> list[Verdict]:
    """Return the verdicts that go with a picture: one is journaled a moment before its picture is there.

    What has no picture to wait for is shown at once, and so is what the disk did not take.
    """
    if picture is None:
        return newest_first
    shown = (picture.verdict.boot, picture.verdict.seq)
    older = [verdict for verdict in newest_first if (verdict.boot, verdict.seq) < shown]
    newest = newest_first[0] if newest_first else picture.verdict
    pictureless = (newest.boot, newest.seq) > shown and not is_scored(newest)
    return newest_first if pictureless else [picture.verdict, *older]


def _chosen(words: Mapping[str, str], *more: str) -> dict[str, Any]:
    """Return what a filter was set to, for links that keep it."""
    return {key: words[key] for key in (*FILTER, *more) if words.get(key)}


def _key(row: Row) -> str:
    return f"{row.verdict.boot}-{row.verdict.seq}"


def shown_name(name: str) -> str:
    """Return what a browser calls its file, fit to be shown: it is untrusted, and used for nothing else."""
    return "".join(letter for letter in name if letter.isprintable())[-FILE_NAME_CHARACTERS_MAX:]


def way_back() -> str:
    """Return the address that a form names, if it is one of ours."""
    then = request.form.get("then", "")
    return then if _OWN_ADDRESS.fullmatch(then) else "/"
