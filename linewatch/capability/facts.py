"""What a study is a study of: machine, software, model, recipe, camera and people, as text."""

import hashlib
import platform
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from linewatch import __version__
from linewatch.errors import RecipeError
from linewatch.models.recipe_file import load_recipe
from linewatch.settings import Settings

DECIDING = (
    "model",
    "model weights, SHA-256",
    "recipe, SHA-256",
    "mask, SHA-256",
    "threshold",
    "unsure threshold",
    "camera",
    "trigger",
)
"""Facts that may not change during a study."""


def gather(settings: Settings, product: str, model: str) -> Mapping[str, str]:
    """Return the facts at this moment. Raises RecipeError if product or model cannot be read."""
    recipe, bundle = load_recipe(settings.models.recipes, product, settings.models.path, model)
    source, text = settings.source, (settings.models.recipes / f"{product}.toml").read_bytes()
    camera = re.sub(r"//[^@/]*@", "//", source.uri)  # Without user and password.
    return {
        "station": settings.station.name,
        "machine": platform.node(),
        "processor": _processor(),
        "system": platform.platform(terse=True),
        "linewatch": __version__,
        "product": product,
        "model": model,
        "model created": bundle.created,
        "model weights, SHA-256": bundle.checksum,
        "recipe, SHA-256": hashlib.sha256(text).hexdigest(),
        **_mask(recipe.mask),
        "threshold": f"{recipe.threshold:.6g}",
        "unsure threshold": f"{recipe.unsure_threshold:.6g}",
        "camera": f"{source.kind} {camera}".strip(),
        "trigger": settings.trigger.mode,
        "begun": datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="seconds"),
    }


def changed(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Return which of the facts that decide a part differ, "" if none does."""
    return ", ".join(name for name in DECIDING if name in before and before[name] != now.get(name))


def _mask(path: Path | None) -> dict[str, str]:
    """Return the hash of a recipe's mask. Raises RecipeError."""
    if path is None:
        return {}
    try:
        return {"mask, SHA-256": hashlib.sha256(path.read_bytes()).hexdigest()}
    except OSError as error:
        raise RecipeError(f"mask {str(path)!r} cannot be read: {error.strerror}") from error


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.machine()
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1] if found else platform.machine()
