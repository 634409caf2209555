"""The error tree: facts go in, one sentence with the next step comes out.

`LinewatchError` is trouble a user or the plant can cause and mend. Anything else is a bug
and ends the process with its traceback.
"""

from pathlib import Path


class LinewatchError(Exception):
    """Expected trouble; `str()` is one sentence: what is wrong, where, and what to do."""


class ConfigError(LinewatchError):
    """The settings cannot be used; a restart would not help (exit status 78)."""


class UsageError(LinewatchError):
    """The command line asks for something that cannot be (exit status 2)."""


class RecipeError(LinewatchError):
    """A product cannot be prepared: its recipe or its model is missing or unfit."""


class SelfTestFailed(RecipeError):
    """The model does not score its golden samples as it did when it was learnt."""


class PrepareTimeout(RecipeError):
    """A product was not ready while somebody waited for it."""

    def __init__(self, product: str, wait_s: float) -> None:
        super().__init__(
            f"product {product!r} was not ready within {wait_s:g} s; see what else the machine does, "
            "then ask for it again"
        )


class NotRegistered(LinewatchError):
    """The part was not found in the picture; the part becomes UNSURE."""


class ImageError(LinewatchError):
    """A file or an upload is not a picture that can be inspected."""

    def __init__(self, name: str | Path, problem: str) -> None:
        super().__init__(f"image {str(name)!r}: {problem}")


class ImageTooLarge(ImageError):
    """A picture has more pixels than are ever decoded."""


class CameraLost(LinewatchError):
    """The source stopped delivering frames; capture backs off and opens it again."""

    def __init__(self, device: str, problem: str) -> None:
        super().__init__(f"camera {device!r}: {problem}; check cable, power and address")


class BrokerLost(LinewatchError):
    """The MQTT broker is away or refuses us; history waits on disk."""

    def __init__(self, address: str, problem: str) -> None:
        super().__init__(f"broker {address}: {problem}")


class StorageFull(LinewatchError):
    """The disk took nothing; verdicts go on without evidence or journal.

    `no_room` says that it is full, and not read-only, absent or broken.
    """

    def __init__(self, path: str | Path, problem: str, *, no_room: bool = False) -> None:
        super().__init__(f"storage {str(path)!r}: {problem}")
        self.problem = problem
        self.no_room = no_room
