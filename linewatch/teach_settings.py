"""The settings of teaching on the page."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from linewatch.setting_types import NamedPath, Section


class TeachSettings(Section):
    """Data sets from which products are taught on the page, and the process that learns."""

    path: NamedPath = Path("var/datasets")
    bytes_max: Annotated[int, Field(ge=0)] = 5_000_000_000  # Of all data sets; 0 is what the disk allows.
    threads: Annotated[int, Field(ge=0, le=64)] = 0  # For learning; 0 means all cores but one.
    nice: Annotated[int, Field(ge=0, le=19)] = 19  # Of the process that learns; 19 is the lowest priority.
    memory_bytes_max: Annotated[int, Field(ge=1_000_000_000)] = 4_000_000_000  # Of the process that learns.
