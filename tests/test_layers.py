"""The rooms of the package and who may import whom, read from the import statements themselves."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "linewatch"
LINES_MAX = 400
MODULES_MAX = 16  # In one folder: what is more wants another room.

BELOW_ADAPTERS = {"root", "runtime", "vision"}
ADAPTERS = {"acquisition", "mqtt", "storage"}  # Blind to each other.
MAY_IMPORT = {
    "root": set(),
    "runtime": {"root"},
    "vision": {"root", "runtime"},
    **dict.fromkeys(ADAPTERS, BELOW_ADAPTERS),
    "models": BELOW_ADAPTERS | ADAPTERS,
    "plc": BELOW_ADAPTERS | {"mqtt"},
    "line": BELOW_ADAPTERS | ADAPTERS | {"models", "plc"},
    "training": BELOW_ADAPTERS | ADAPTERS | {"models"},
    "teach": BELOW_ADAPTERS | ADAPTERS | {"models", "training"},
    "recall": BELOW_ADAPTERS | {"storage", "models"},
    "export": BELOW_ADAPTERS | {"mqtt", "storage"},
    "reporting": BELOW_ADAPTERS | {"storage"},
    "capability": BELOW_ADAPTERS | {"storage", "models"},
    "people": {"root"},
    "web": BELOW_ADAPTERS | {"mqtt", "people", "reporting"},
    "web backends": BELOW_ADAPTERS
    | ADAPTERS
    | {"models", "line", "teach", "recall", "export", "reporting", "capability", "people", "web"},
    "daemon": BELOW_ADAPTERS
    | ADAPTERS
    | {"models", "line", "teach", "capability", "people", "web", "web backends"},
    "cli": BELOW_ADAPTERS
    | ADAPTERS
    | {
        "models",
        "plc",
        "line",
        "teach",
        "recall",
        "export",
        "reporting",
        "capability",
        "people",
        "web",
        "web backends",
        "training",
        "daemon",
    },
}
"""Room -> the rooms it may import beside itself; nothing imports upwards."""

ONE_DOOR = {
    "openvino": ("models/engine.py", "training/"),
    "paho": ("mqtt/",),
    "pymodbus": ("plc/modbus/",),
    "asyncua": ("plc/opcua/",),
    "cryptography": ("plc/opcua/",),
    "google": ("plc/sparkplug/",),  # protobuf
    "sqlite3": ("storage/", "people/"),
    "argon2": ("people/",),
    "flask": ("web/",),
    "waitress": ("web/",),
    "iotcore": ("cli/demo_broker.py",),
    "gi": ("acquisition/sources/",),
    "typer": ("cli/", "training/"),
    "tensorflow": ("training/",),
    "keras": ("training/",),
    "sklearn": ("training/",),
    "scipy": ("capability/",),
    "matplotlib": ("training/",),
    "pyarrow": ("storage/shipping/",),
}
"""Library -> where alone it is imported."""

NO_IO = ("domain.py", "errors.py", "identifiers.py", "mqtt/messages.py", "mqtt/command_parsing.py", "vision/")
IO = {"socket", "sqlite3", "paho", "flask", "waitress", "openvino", "subprocess", "http", "urllib"}

MODULES = {path.relative_to(PACKAGE).as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}


@cache
def imports(path: Path) -> tuple[str, ...]:
    """Return every imported name in full, wherever it stands: "linewatch.mqtt.live.LiveLink"."""
    return tuple(_imports(path))


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            yield from (f"{node.module}.{name.name}" for name in node.names)


def libraries(path: Path) -> set[str]:
    """Return the top-level packages that a file imports."""
    return {name.partition(".")[0] for name in imports(path)}


def module_of(name: str) -> str:
    """Return the file that an imported name lives in: "linewatch.web.app.create_app" is "web/app.py"."""
    parts = name.split(".")[1:]
    for end in range(len(parts), 0, -1):
        stem = "/".join(parts[:end])
        for file in (f"{stem}.py", f"{stem}/__init__.py"):
            if file in MODULES:
                return file
    return "__init__.py"


def room_of(module: str) -> str:
    """Return the room that a file lies in."""
    folder, slash, _ = module.partition("/")
    if not slash:
        return {"daemon.py": "daemon", "__main__.py": "cli"}.get(folder, "root")
    return "web backends" if module.endswith("_backend.py") and folder == "web" else folder


def own_imports(module: str) -> set[str]:
    """Return the files of this package that a file imports."""
    return {module_of(name) for name in imports(MODULES[module]) if name.startswith("linewatch")}


@pytest.mark.parametrize("module", MODULES)
def test_nothing_imports_upwards(module: str) -> None:
    """A room knows the rooms below it and no other; adapters are blind to each other."""
    room = room_of(module)
    rooms = {room_of(other) for other in own_imports(module)}

    assert rooms <= MAY_IMPORT[room] | {room}


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Every module can be read, and tested, after those that it imports."""
    left = {
        module: own_imports(module) - {module} for module in MODULES if not module.endswith("__init__.py")
    }
    while free := [module for module, needs in left.items() if not needs & left.keys()]:
        for module in free:
            del left[module]

    assert left == {}


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith(NO_IO)])
def test_what_decides_imports_no_io(module: str) -> None:
    """Values, scoring and messages can be read and tested without a world around them."""
    assert libraries(MODULES[module]) & IO == set()


@pytest.mark.parametrize("library", ONE_DOOR)
def test_a_foreign_library_has_one_door(library: str) -> None:
    """Whoever replaces a library finds all of it in one place."""
    users = [module for module, path in MODULES.items() if library in libraries(path)]

    assert [user for user in users if not user.startswith(ONE_DOOR[library])] == []


@pytest.mark.parametrize("module", MODULES)
def test_a_module_is_one_noun(module: str) -> None:
    """What is longer than this wants to be two."""
    assert len(MODULES[module].read_text(encoding="utf-8").splitlines()) <= LINES_MAX


@pytest.mark.parametrize(
    "folder", sorted({path.parent for path in MODULES.values()}), ids=lambda path: path.name
)
def test_a_room_can_be_taken_in_at_a_glance(folder: Path) -> None:
    """No folder holds more modules than a newcomer can read the names of."""
    assert len([path for path in folder.glob("*.py") if path.name != "__init__.py"]) <= MODULES_MAX


def test_the_composition_of_the_daemon_fits_on_one_screen() -> None:
    """`run` lists what is built in under 60 lines, each `build_` function has under 30."""
    functions = [
        node
        for node in ast.parse(MODULES["daemon.py"].read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef)
    ]
    lines = {node.name: (node.end_lineno or 0) - node.lineno + 1 for node in functions}

    assert lines.pop("run") < 60
    assert max(lines.values()) < 30


def test_every_room_has_its_rule() -> None:
    """A new folder needs a place in the order."""
    assert {room_of(module) for module in MODULES} <= MAY_IMPORT.keys()


def test_the_rules_can_fail(tmp_path: Path) -> None:
    """Imports inside a function, a try or under an `if` are seen too."""
    path = tmp_path / "module.py"
    path.write_text(
        "def f():\n    try:\n        import sqlite3 as s\n"
        "    except E:\n        from paho.mqtt import client\n"
    )

    assert libraries(path) == {"sqlite3", "paho"}
    assert module_of("linewatch.web.app.create_app") == "web/app.py"
    assert module_of("linewatch.vision.scoring") == "vision/scoring.py"
    assert room_of("web/station_backend.py") == "web backends"
    assert room_of("acquisition/sources/gige.py") == "acquisition"
