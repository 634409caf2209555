"""A secret whose file may come after the start, as from a share or another service."""

from collections.abc import Callable

from linewatch.errors import ConfigError, NotThereYet


class AwaitedSecret:
    """Returns a secret once its file is there, "" until then; any thread may call it.

    `read` raises NotThereYet while the file is missing. `on_change` gets why it cannot be read, and "" once
    it was. Raises ConfigError if the file is there at the start and unusable; later such a file is awaited.
    """

    def __init__(self, read: Callable[[], str], on_change: Callable[[str], None] = lambda _: None) -> None:
        self._read = read
        self._on_change = on_change
        self._value: str | None = None
        try:
            self._value = read()
        except NotThereYet as trouble:
            on_change(str(trouble))

    def __call__(self) -> str:
        """Return the secret, "" if there is none or not yet."""
        if self._value is None:
            try:
                self._value = self._read()
            except ConfigError as trouble:
                self._on_change(str(trouble))
                return ""
            self._on_change("")
        return self._value
