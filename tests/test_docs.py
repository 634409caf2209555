"""Everything a user can see is documented; a failing test names the table that lacks a line."""

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import typer.main
from pydantic import SecretStr

from linewatch.cli import main as cli
from linewatch.domain import Reason, State
from linewatch.line.metrics import Metrics
from linewatch.mqtt.messages import COMMANDS, Topics
from linewatch.setting_types import Section
from linewatch.settings import Settings, keys
from linewatch.storage.shipping.tables import TABLES, Table
from tests.test_layers import MAY_IMPORT

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
SOURCE = "\n".join(path.read_text() for path in sorted((ROOT / "linewatch").rglob("*.py")))


def command_lines() -> Iterator[str]:
    """Yield every command of the command line, such as "models list"."""
    for name, command in vars(typer.main.get_command(cli.app))["commands"].items():
        for inner in getattr(command, "commands", [""]):
            yield f"{name} {inner}".strip()


COMMAND_LINES = sorted(command_lines())


@cache
def rows(document: str, heading: str) -> tuple[tuple[str, ...], ...]:
    """Return the cells of every table whose first column is called `heading`, without its header."""
    found: list[tuple[str, ...]] = []
    inside = False
    for line in (DOCS / document).read_text().splitlines():
        cells = tuple(cell.strip() for cell in line.strip("|").split("|")) if line.startswith("|") else ()
        if not cells or cells[0] == heading:
            inside = bool(cells)
        elif inside and not cells[0].startswith("---"):
            found.append(cells)
    return tuple(found)


def named(document: str, heading: str) -> set[str]:
    """Return the names in backticks in the first column of such tables."""
    return {name for cells in rows(document, heading) for name in re.findall("`([^`]+)`", cells[0])}


def default(key: str) -> str:
    """Return a setting's default as TOML writes it; "" if it has none."""
    section, _, name = key.partition(".")
    table = Settings.model_fields[section].annotation
    assert isinstance(table, type) and issubclass(table, Section)
    value = table.model_fields[name].default
    if value is None or isinstance(value, SecretStr):
        value = ""
    return f"`{json.dumps(str(value) if isinstance(value, Path) else value)}`"


def test_every_setting_stands_in_the_settings_table_with_its_default() -> None:
    """A new or changed setting gets its line in docs/settings.md."""
    assert {cells[0]: cells[1] for cells in rows("settings.md", "setting")} == {
        f"`{key}`": default(key) for key in keys()
    }


def test_every_key_of_a_recipe_stands_in_the_settings() -> None:
    """A new key gets its line in the second table of docs/settings.md."""
    shipped = (ROOT / "config/recipes/demo.toml").read_text()

    assert named("settings.md", "recipe") == set(re.findall(r"^(?:# )?(\w+) = ", shipped, re.MULTILINE))


def test_every_command_stands_in_the_operations() -> None:
    """A new command gets its line under Commands in docs/operations.md."""
    assert {f"linewatch {name}" for name in COMMAND_LINES} == {
        name for name in named("operations.md", "command") if name.startswith("linewatch")
    }


def test_every_metric_stands_in_the_operations() -> None:
    """A new metric gets its line under Metrics in docs/operations.md: its meaning, and when to read it."""
    known = {
        family.name.removeprefix("linewatch_") + ("_total" if family.type == "counter" else "")
        for family in Metrics("station1").registry.collect()
        if family.name.startswith("linewatch_")
    }

    assert named("operations.md", "metric") == known


def test_every_state_stands_in_the_operations() -> None:
    """A new state gets its line under States in docs/operations.md."""
    known = {name for cells in rows("operations.md", "state") for name in cells[0].split(", ")}

    assert known == {state.value for state in State}


def test_every_topic_stands_in_the_plc_document() -> None:
    """A new topic gets its line under "Every topic" in docs/plc.md."""
    topics = Topics("B")
    names = [name for name in dir(topics) if not name.startswith("_") and name != "base"]
    known = {str(getattr(topics, name)).replace("+", "NAME") for name in names}

    assert named("plc.md", "topic") == known | {"B/cmd/NAME/res"}


def test_every_plc_command_and_reason_stands_in_the_plc_document() -> None:
    """A new command or reason gets its line in docs/plc.md."""
    assert named("plc.md", "command") == set(COMMANDS)
    assert [cells[0] for cells in rows("plc.md", "reason")] == [str(reason.value) for reason in Reason]


def test_every_event_stands_in_the_plc_document() -> None:
    """A new event gets its line under Events in docs/plc.md."""
    events = set(re.findall(r'\bevent\(\s*"(\w+)"', SOURCE))
    parts = set(re.findall(r'\b(?:impaired|storage_failed|set_impairment)[(,]\s*"(\w+)"', SOURCE))

    assert events and parts
    assert named("plc.md", "event") == events | {
        f"{part}_{edge}" for part in parts for edge in ("impaired", "restored")
    }


def test_every_log_line_in_a_document_exists() -> None:
    """A document that says "`name` in the log" names an event that the code logs."""
    text = " ".join(path.read_text() for path in DOCUMENTS)
    named_lines = set(re.findall(r"`(\w+)` in the\s+log", text))

    assert named_lines
    assert named_lines <= set(re.findall(r'"(\w+) \w+=', SOURCE))


def test_every_package_stands_in_the_architecture_with_what_it_may_import() -> None:
    """A new package, or a new import rule in tests/test_layers.py, gets its line in docs/architecture.md."""
    documented = {
        cells[0].strip("`"): set(re.findall("`([^`]+)`", cells[2]))
        for cells in rows("architecture.md", "package")
    }

    assert documented == MAY_IMPORT


DOCUMENTS = sorted([ROOT / "README.md", *DOCS.rglob("*.md")])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    """Every link in a document points at a file, and a heading in it, that exists."""
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        path = document.parent / name if name else document
        assert path.exists(), target
        if anchor:
            heads = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}, (
                target
            )


def test_every_test_in_tried_exists() -> None:
    """docs/tried.md names file and function of each test."""
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "docs/tried.md").read_text())

    assert len(named) > 40
    for file, test in named:
        assert re.search(rf"^def {test}\(", (ROOT / file).read_text(), re.MULTILINE), f"{file}::{test}"


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_shipped_column_stands_in_the_fleet_document(table: Table) -> None:
    """A new column gets its line in docs/fleet.md, with its type."""
    documented = {
        name: cells[1]
        for cells in rows("fleet.md", f"column of `{table.name}`")
        for name in re.findall("`([^`]+)`", cells[0])
    }

    assert documented == {column.name: column.kind for column in table.columns}
