"""The tables that are shipped, with their columns. docs/fleet.md has them for readers.

No name is a reserved word of SQL.
"""

from dataclasses import dataclass
from typing import Literal

SCHEMA = 1  # Grows when a column changes its meaning or goes; a new column does not change it.

Kind = Literal["number", "real", "flag", "text", "time"]
"""int64, float64, boolean, UTF-8 text, UTC timestamp in milliseconds."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a file."""

    name: str
    kind: Kind
    unique: bool = False  # Texts that seldom repeat are not worth a dictionary.


@dataclass(frozen=True, slots=True)
class Table:
    """One file of each day, `NAME.parquet`."""

    name: str
    columns: tuple[Column, ...]


VERDICTS = Table(
    "verdicts",
    (
        Column("boot", "number"),
        Column("seq", "number"),
        Column("captured", "time"),
        Column("journaled", "time"),
        Column("part", "text", unique=True),
        Column("trigger", "number"),
        Column("product", "text"),
        Column("product_index", "number"),
        Column("model", "text"),
        Column("result", "text"),
        Column("reason", "number"),
        Column("raw", "real"),
        Column("threshold", "real"),
        Column("age_ms", "number"),
        Column("latency_ms", "number"),
        Column("late", "flag"),
        Column("simulated", "flag"),
        Column("defects", "number"),
        Column("box_x", "number"),
        Column("box_y", "number"),
        Column("box_w", "number"),
        Column("box_h", "number"),
        Column("region", "text"),
        Column("region_index", "number"),
        Column("image", "text", unique=True),
        Column("heatmap", "text", unique=True),
    ),
)
REVIEWS = Table(
    "reviews",
    (
        Column("boot", "number"),
        Column("seq", "number"),
        Column("reviewed", "time"),
        Column("actual", "text"),
        Column("note", "text", unique=True),
        Column("who", "text"),
    ),
)
STATES = Table(
    "states",
    (
        Column("state", "text"),
        Column("product", "text"),
        Column("reason", "text"),
        Column("began", "time"),
        Column("ended", "time"),
    ),
)
AUDIT = Table(
    "audit",
    (
        Column("audit_row", "number"),
        Column("acted", "time"),
        Column("who", "text"),
        Column("action", "text"),
        Column("product", "text"),
        Column("facts", "text", unique=True),
        Column("hash", "text", unique=True),
    ),
)
TABLES = (AUDIT, STATES, REVIEWS, VERDICTS)
"""In the order of writing: a day with its verdicts has the other files, too."""
