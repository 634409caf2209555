"""Load Aravis, the GigE Vision library, only when a camera needs it."""

import functools
import importlib.util
import sys
import warnings
from importlib.machinery import PathFinder
from typing import Any

from linewatch.errors import ConfigError

DEBIAN = "/usr/lib/python3/dist-packages"
MISSING = (
    "GigE Vision needs the library Aravis; install it: apt-get install python3-gi gir1.2-aravis-0.8 "
    "(for another Python than the system's also: pip install 'linewatch[gige]')"
)


@functools.cache
def load() -> Any:
    """Return the Aravis module. Raises ConfigError, which says what to install."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Old versions of gi warn about their own imports.
            _load_gi().require_version("Aravis", "0.8")
            return importlib.import_module("gi.repository.Aravis")
    except (ImportError, ValueError) as error:
        raise ConfigError(MISSING) from error


def error_type() -> type[Exception]:
    """Return the exception class that Aravis raises for a failed camera operation."""
    load()
    return importlib.import_module("gi.repository.GLib").Error  # type: ignore[no-any-return]


def _load_gi() -> Any:
    """Import gi, from Debian's packages if needed: a virtual environment does not see them.

    Debian's gi works for the system's Python version only.
    """
    if importlib.util.find_spec("gi") is None:
        spec = PathFinder.find_spec("gi", [DEBIAN])
        if spec is None or spec.loader is None:
            raise ImportError("gi")
        module = importlib.util.module_from_spec(spec)
        sys.modules["gi"] = module
        try:
            spec.loader.exec_module(module)
        except ImportError:
            del sys.modules["gi"]
            raise
    return importlib.import_module("gi")
