"""Run `linewatch` as its users do."""

import subprocess
import sys
from pathlib import Path


def linewatch(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one command in `folder`; with the default settings that is where its journal is."""
    return subprocess.run(
        [sys.executable, "-m", "linewatch", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
