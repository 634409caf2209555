"""Real programs and libraries of the npm registry, for tests of what others run beside linewatch."""

import shutil
import sys
from pathlib import Path

import pytest

FOLDER = Path(sys.prefix) / "npm/node_modules"  # Where .ci/system-parts installs them.


def node_and_package(name: str) -> tuple[str, Path]:
    """Return node's path and a package's folder; skip the test without them."""
    node = shutil.which("node")
    if node is None or not (FOLDER / name).is_dir():
        pytest.skip(f"node and the npm package {name} are not installed; `make test` does that where npm is")
    return node, FOLDER / name
