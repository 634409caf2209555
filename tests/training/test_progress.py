"""Progress on a terminal and in a log."""

import io

import pytest
from rich.console import Console

from linewatch.training.progress import LINE_EVERY, progress_bar


def shown(console: Console, file: io.StringIO) -> list[str]:
    """Report two steps, the second a long one; return the printed lines without their times."""
    with progress_bar(console) as report:
        report("reading images", 0.0)
        for done in range(0, 100):
            report("training", 0.1 + 0.8 * done / 100)
        report("done", 1.0)
    return [line.partition(" s ")[2] for line in file.getvalue().splitlines()]


def test_each_step_is_a_line_where_there_is_no_terminal() -> None:
    """A log gets a line per step, and one more per tenth of the work."""
    lines = shown(Console(file=(file := io.StringIO())), file)

    assert lines[:3] == [
        "  0%  reading images",
        " 10%  training",
        " 20%  training",
    ]
    assert lines[-1] == "100%  done"
    assert 1 / LINE_EVERY - 2 <= len(lines) <= 1 / LINE_EVERY + 2


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal gets one bar that is redrawn in place."""
    monkeypatch.setenv("TERM", "xterm")
    shown(Console(file=(file := io.StringIO()), force_terminal=True), file)

    assert "\x1b[" in file.getvalue()
    assert "100%" in file.getvalue()
