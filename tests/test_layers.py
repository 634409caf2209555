"""The dependency rules of the design, read from the import statements."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "linewatch"
LINES_MAX = 400

PURE = ("domain", "recipe", "scoring", "registration", "likeness", "messages")
IO = {
    "socket",
    "sqlite3",
    "paho",
    "flask",
    "waitress",
    "openvino",
    "subprocess",
    "http",
    "urllib",
    "requests",
}
ADAPTERS = ("sources", "engine", "journal", "evidence", "mqtt", "web", "systemd")
ONLY = {
    "openvino": ("engine", "training"),
    "paho": ("mqtt",),
    "sqlite3": ("journal", "journal_file", "journal_reader"),
    "flask": ("web",),
    "waitress": ("web",),
    "iotcore": ("broker",),
    "gi": ("sources",),
    "typer": ("cli", "cli_models", "cli_options", "demo", "training"),
    "tensorflow": ("training",),
    "keras": ("training",),
    "sklearn": ("training",),
    "matplotlib": ("training",),
}

MODULES = {path.relative_to(PACKAGE).as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}


@cache
def imports(path: Path) -> tuple[str, ...]:
    """Return every imported name in full, wherever in the file it is imported: "linewatch.mqtt.Broker"."""
    return tuple(_imports(path))


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            yield from (f"{node.module}.{name.name}" for name in node.names)


def roots(path: Path) -> set[str]:
    """Return the top-level packages that a file imports."""
    return {name.partition(".")[0] for name in imports(path)}


def belongs(module: str, owner: str) -> bool:
    """Whether a file, "web/app.py", is a module or lies in a package called `owner`."""
    return module == f"{owner}.py" or module.startswith(f"{owner}/")


def adapter_of(module: str) -> str:
    """Return the adapter that a file or an imported name is part of, "" if none."""
    name = module.removesuffix(".py").replace("/", ".").partition(".")[0]
    return next((adapter for adapter in ADAPTERS if name == adapter or name.startswith(f"{adapter}_")), "")


@pytest.mark.parametrize("name", PURE)
def test_what_decides_imports_no_io(name: str) -> None:
    """Values, recipes, scoring and messages can be read and tested without a world around them."""
    assert roots(MODULES[f"{name}.py"]) & IO == set()


@pytest.mark.parametrize("library", ONLY)
def test_a_foreign_library_has_one_door(library: str) -> None:
    """Whoever replaces a library finds all of it in one place."""
    users = {module for module, path in MODULES.items() if library in roots(path)}

    assert {user for user in users if not any(belongs(user, owner) for owner in ONLY[library])} == set()


@pytest.mark.parametrize("module", MODULES)
def test_adapters_do_not_know_each_other(module: str) -> None:
    """The disk does not know the broker, the page does not know the camera: only the pipeline knows all."""
    mine = adapter_of(module)
    if not mine:
        return
    known = {
        adapter_of(name.removeprefix("linewatch."))
        for name in imports(MODULES[module])
        if name.startswith("linewatch.")
    }

    assert known <= {mine, ""}


@pytest.mark.parametrize("module", MODULES)
def test_a_module_is_one_noun(module: str) -> None:
    """What is longer than this wants to be two."""
    assert len(MODULES[module].read_text(encoding="utf-8").splitlines()) <= LINES_MAX


def test_the_rules_can_fail(tmp_path: Path) -> None:
    """Imports inside a function, a try or under an `if` are seen too."""
    path = tmp_path / "module.py"
    path.write_text(
        "def f():\n    try:\n        import sqlite3 as s\n"
        "    except E:\n        from paho.mqtt import client\n"
    )

    assert roots(path) == {"sqlite3", "paho"}
    assert adapter_of("journal_reader.py") == adapter_of("journal_file.translating") == "journal"
    assert adapter_of("web/app.py") == "web"
    assert adapter_of("messages.py") == ""
