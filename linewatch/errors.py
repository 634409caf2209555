"""The exception hierarchy: each error takes facts and reads as one sentence with the next step.

`LinewatchError` covers conditions that a user or the plant can cause and correct. Any other exception is
a bug and ends the process with its traceback.
"""

from pathlib import Path


class LinewatchError(Exception):
    """An expected error; `str()` is one sentence: what is wrong, where, and what to do."""


class ConfigError(LinewatchError):
    """The settings cannot be used; a restart would not help (exit status 78)."""


class NotThereYet(ConfigError):
    """A file, folder or address of the settings is missing, but may come: a share, a network at boot.

    The daemon waits for it; commands end as for every ConfigError.
    """


class UsageError(LinewatchError):
    """The command line is wrong (exit status 2)."""


class RecipeError(LinewatchError):
    """A product cannot be prepared: its recipe or its model is missing or unfit."""


class RecipeNotThere(RecipeError):
    """A file of the recipe or the model is missing, but may come: a share at boot, a copy under way."""


class SelfTestFailed(RecipeError):
    """The model does not score its golden samples as it did after training."""


class PrepareTimeout(RecipeError):
    """A product was not ready within the time limit of its changeover."""

    def __init__(self, product: str, wait_s: float) -> None:
        super().__init__(
            f"product {product!r} was not ready within {wait_s:g} s; check the machine's load, "
            "then request it again"
        )


class NotRegistered(LinewatchError):
    """The part was not found in the image; it becomes UNSURE."""


class ImageError(LinewatchError):
    """A file or an upload is not an image that can be inspected."""

    def __init__(self, name: str | Path, problem: str) -> None:
        super().__init__(f"image {str(name)!r}: {problem}")


class ImageTooLarge(ImageError):
    """An image has more pixels than are decoded."""


class CameraLost(LinewatchError):
    """The source stopped delivering frames; capture backs off and reopens it."""

    def __init__(self, device: str, problem: str) -> None:
        super().__init__(f"camera {device!r}: {problem}; check cable, power and address")


class BrokerLost(LinewatchError):
    """The MQTT broker is unreachable or refuses the connection; the history waits on disk."""

    def __init__(self, address: str, problem: str) -> None:
        super().__init__(f"broker {address}: {problem}")


class StorageFull(LinewatchError):
    """A write failed; verdicts continue without evidence or journal.

    `no_room` is True if the disk is full rather than read-only, absent or broken.
    """

    def __init__(self, path: str | Path, problem: str, *, no_room: bool = False) -> None:
        super().__init__(f"storage {str(path)!r}: {problem}")
        self.problem = problem
        self.no_room = no_room
