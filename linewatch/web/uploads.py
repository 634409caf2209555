"""Uploaded images: limited in size and number, inspected one at a time."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from flask import abort, request
from werkzeug.datastructures import FileStorage

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
            with self._inspecting, refusals():
                return self._backend.inspect(product, data)
        finally:
            self._waiting.release()

    def keep(self, jpeg: bytes) -> str:
        """Keep a JPEG for a while under a random name, and return that name; "" for b""."""
        return self._images.add(jpeg) if jpeg else ""

    def image(self, name: str) -> bytes | None:
        """Return a JPEG by the name that `keep` gave it; None if it is unknown or no longer kept."""
        return self._images.get(name)

    def _read_form(self) -> tuple[str, bytes]:
        limit_form()
        sentences = {
            "image": self._texts["error_not_multipart"],
            "product": self._texts["error_no_product"],
        }
        fields = {"image": request.files.get("image"), "product": request.form.get("product")}
        form = read_body(InspectForm, fields, sentences)
        return form.product, read_image(self._backend, self._texts, form.product, form.image)


def limit_form() -> None:
    """Limit the multipart form of the current request; call it before the form is read."""
    request.max_content_length = UPLOAD_BYTES_MAX + FORM_BYTES_MAX
    request.max_form_parts = FORM_PARTS_MAX


def read_image(backend: Backend, texts: Mapping[str, str], product: str, image: FileStorage) -> bytes:
    """Return an uploaded file. Aborts with 404 for an unknown product, with 413 for one that is too large."""
    if all(product != known.name for known in backend.products()):
        abort(404, texts["error_unknown_product"])
    data = image.stream.read(UPLOAD_BYTES_MAX + 1)
    if len(data) > UPLOAD_BYTES_MAX:
        abort(413)
    return data


@contextmanager
def refusals() -> Iterator[None]:
    """Abort with the status and the sentence of what an uploaded image, or its product's model, lacks."""
    try:
        yield
    except ImageTooLarge as error:
        abort(413, str(error))
    except ImageError as error:
        abort(400, str(error))
    except RecipeError as error:
        abort(409, str(error))
    except LinewatchError as error:
        abort(503, str(error))
