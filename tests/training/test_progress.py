"""What somebody sees who waits for a command."""

import io

import pytest
from rich.console import Console

from linewatch.training.progress import LINE_EVERY, bar


def shown(console: Console, file: io.StringIO) -> list[str]:
    """Report two steps, the second a long one; return the lines without their times."""
    with bar(console) as report:
        report("reading pictures", 0.0)
        for done in range(0, 100):
            report("learning what is usual", 0.1 + 0.8 * done / 100)
        report("done", 1.0)
    return [line.partition(" s ")[2] for line in file.getvalue().splitlines()]


def test_each_step_is_a_line_where_no_bar_can_move() -> None:
    """A log tells after minutes what is being done, and is not flooded."""
    lines = shown(Console(file=(file := io.StringIO())), file)

    assert lines[:3] == [
        "  0%  reading pictures",
        " 10%  learning what is usual",
        " 20%  learning what is usual",
    ]
    assert lines[-1] == "100%  done"
    assert 1 / LINE_EVERY - 2 <= len(lines) <= 1 / LINE_EVERY + 2


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line that is drawn again and again, not one for each step."""
    monkeypatch.setenv("TERM", "xterm")
    shown(Console(file=(file := io.StringIO()), force_terminal=True), file)

    assert "\x1b[" in file.getvalue()
    assert "100%" in file.getvalue()
