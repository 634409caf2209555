"""A picture sent by a person or a program: bounded, judged one at a time."""

import threading
from collections.abc import Mapping

from flask import abort, request

from linewatch.errors import ImageError, ImageTooLarge, LinewatchError, RecipeError
from linewatch.web.backend import Backend, InspectResult
from linewatch.web.cache import ImageCache

UPLOAD_BYTES_MAX = 20_000_000
FORM_BYTES_MAX = 100_000  # What the multipart form may add around the picture.
FORM_PARTS_MAX = 8
WAITING_MAX = 4  # More uploads than this at once are told to come back.
PICTURES_MAX = 32


class Uploads:
    """Turns an uploaded picture into a verdict; nothing is kept but what the page shows, in memory."""

    def __init__(self, desk: Backend, texts: Mapping[str, str]) -> None:
        self._desk = desk
        self._texts = texts
        self._pictures = ImageCache(PICTURES_MAX)
        self._waiting = threading.BoundedSemaphore(WAITING_MAX)
        self._judging = threading.Lock()

    def inspect(self) -> InspectResult:
        """Judge the picture of the current request.

        Aborts with 400, 404, 409, 413 or 503 and one sentence when that cannot be done.
        """
        # Before the form is read: sending somebody away must cost next to nothing.
        if not self._waiting.acquire(blocking=False):
            abort(503, self._texts["error_busy"])
        try:
            product, data = self._read_form()
            with self._judging:
                return self._judge(product, data)
        finally:
            self._waiting.release()

    def keep(self, jpeg: bytes) -> str:
        """Keep a picture for a while and return the name that only the caller knows, "" for b""."""
        return self._pictures.keep_secret(jpeg) if jpeg else ""

    def picture(self, name: str) -> bytes | None:
        """Return what was kept, if that was not long ago."""
        return self._pictures.get(name)

    def _read_form(self) -> tuple[str, bytes]:
        request.max_content_length = UPLOAD_BYTES_MAX + FORM_BYTES_MAX
        request.max_form_parts = FORM_PARTS_MAX
        picture = request.files.get("image")
        if picture is None:
            abort(400, self._texts["error_not_multipart"])
        product = request.form.get("product", "")
        if not product:
            abort(400, self._texts["error_no_product"])
        if all(product != known.name for known in self._desk.products()):
            abort(404, self._texts["error_unknown_product"])
        data = picture.stream.read(UPLOAD_BYTES_MAX + 1)
        if len(data) > UPLOAD_BYTES_MAX:
            abort(413)
        return product, data

    def _judge(self, product: str, data: bytes) -> InspectResult:
        try:
            return self._desk.inspect(product, data)
        except ImageTooLarge as error:
            abort(413, str(error))
        except ImageError as error:
            abort(400, str(error))
        except RecipeError as error:
            abort(409, str(error))
        except LinewatchError as error:
            abort(503, str(error))
