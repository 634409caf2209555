"""Uploaded images: limited in size and number, inspected one at a time."""

import threading
from collections.abc import Mapping

from flask import abort, request

from linewatch.errors import ImageError, ImageTooLarge, LinewatchError, RecipeError
from linewatch.web.backend import Backend, InspectResult
from linewatch.web.cache import ImageCache
from linewatch.web.params import InspectForm, read_body

UPLOAD_BYTES_MAX = 20_000_000
FORM_BYTES_MAX = 100_000  # Of the multipart form around the image.
FORM_PARTS_MAX = 8
WAITING_MAX = 4  # Uploads in hand at once; any more get 503.
IMAGES_MAX = 32


class Uploads:
    """Inspects uploaded images; keeps only the last few images that a page shows, in memory."""

    def __init__(self, backend: Backend, texts: Mapping[str, str]) -> None:
        self._backend = backend
        self._texts = texts
        self._images = ImageCache(IMAGES_MAX)
        self._waiting = threading.BoundedSemaphore(WAITING_MAX)
        self._inspecting = threading.Lock()

    def inspect(self) -> InspectResult:
        """Return the verdict on the image of the current request.

        Aborts with 400, 404, 409, 413 or 503 and one sentence when it cannot be inspected.
        """
        # Before the form is read, so that a refusal costs next to nothing.
        if not self._waiting.acquire(blocking=False):
            abort(503, self._texts["error_busy"])
        try:
            product, data = self._read_form()
            with self._inspecting:
                return self._inspect(product, data)
        finally:
            self._waiting.release()

    def keep(self, jpeg: bytes) -> str:
        """Keep a JPEG for a while under a random name, and return that name; "" for b""."""
        return self._images.add(jpeg) if jpeg else ""

    def image(self, name: str) -> bytes | None:
        """Return a JPEG by the name that `keep` gave it; None if it is unknown or no longer kept."""
        return self._images.get(name)

    def _read_form(self) -> tuple[str, bytes]:
        request.max_content_length = UPLOAD_BYTES_MAX + FORM_BYTES_MAX
        request.max_form_parts = FORM_PARTS_MAX
        sentences = {
            "image": self._texts["error_not_multipart"],
            "product": self._texts["error_no_product"],
        }
        fields = {"image": request.files.get("image"), "product": request.form.get("product")}
        form = read_body(InspectForm, fields, sentences)
        if all(form.product != known.name for known in self._backend.products()):
            abort(404, self._texts["error_unknown_product"])
        data = form.image.stream.read(UPLOAD_BYTES_MAX + 1)
        if len(data) > UPLOAD_BYTES_MAX:
            abort(413)
        return form.product, data

    def _inspect(self, product: str, data: bytes) -> InspectResult:
        try:
            return self._backend.inspect(product, data)
        except ImageTooLarge as error:
            abort(413, str(error))
        except ImageError as error:
            abort(400, str(error))
        except RecipeError as error:
            abort(409, str(error))
        except LinewatchError as error:
            abort(503, str(error))
