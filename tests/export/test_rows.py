"""Rows as CSV and JSON lines: every key, whole names, and no cell that a spreadsheet would run."""

import csv
import io
import json

import pytest

from linewatch.domain import Result
from linewatch.export.rows import AUDIT_COLUMNS, COLUMNS, Form, audit_lines, verdict_lines, verdict_row
from linewatch.mqtt.messages import verdict_payload
from linewatch.storage.audit.reading import AuditEntry
from linewatch.storage.journal_reader import Review
from tests.fakes import verdict

REVIEW = Review(1_790_000_000_000, 41, 1, "defect", "=1+1", "anna")


def test_a_row_has_the_keys_of_the_payload() -> None:
    """In their order, with the time before and the review after them."""
    row = verdict_row(verdict(1), REVIEW)

    assert tuple(row) == COLUMNS
    assert COLUMNS[1:-3] == tuple(verdict_payload(verdict(1), history=True))
    assert (row["actual"], row["reviewer"]) == ("defect", "anna")


def test_names_are_not_cut_as_on_the_wire() -> None:
    """The payload is shortened to 500 bytes, an export is not."""
    long = verdict(1, part="P" * 128, product="x" * 32, image="i" * 120, heatmap="h" * 120)

    (line,) = verdict_lines([(long, None)], Form.JSONL)

    assert json.loads(line)["part"] == "P" * 128
    assert json.loads(line)["image"] == "i" * 120
    assert json.loads(line)["region_index"] == 0


@pytest.mark.parametrize(
    "hostile", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", '=HYPERLINK("http://x")']
)
def test_no_cell_begins_like_a_formula(hostile: str) -> None:
    """Part names and notes are what somebody typed or scanned."""
    review = Review(1, 41, 1, "good", hostile, hostile)
    text = "".join(verdict_lines([(verdict(1, part=hostile), review)], Form.CSV))

    row = next(csv.DictReader(io.StringIO(text, newline="")))

    assert {row["part"], row["note"], row["reviewer"]} == {f"'{hostile}"}


@pytest.mark.parametrize("odd", ['a"b', "a,b", "a\nb", "\x1d01\x1e", "grün 🙂", "\u2028"])
def test_odd_names_come_back_as_they_were(odd: str) -> None:
    """From both formats; a row of JSON lines is always one line."""
    rows = [(verdict(1, Result.FAIL, part=odd), None)]
    table = io.StringIO("".join(verdict_lines(rows, Form.CSV)), newline="")
    (line,) = verdict_lines(rows, Form.JSONL)

    assert next(csv.DictReader(table))["part"] == odd
    assert json.loads(line)["part"] == odd
    assert line.count("\n") == 1


def test_no_rows_are_a_table_without_rows() -> None:
    """A program that reads it finds the columns."""
    assert "".join(verdict_lines([], Form.CSV)) == ",".join(COLUMNS) + "\r\n"
    assert not list(verdict_lines([], Form.JSONL))


def test_the_audit_keeps_what_verifies_it() -> None:
    """Row and hash, in both formats; facts are JSON."""
    entry = AuditEntry(1_790_000_000_000, "=anna", "model_activated", {"why": "grün"}, 7, "ab" * 32)
    (line,) = audit_lines([entry], Form.JSONL)
    table = io.StringIO("".join(audit_lines([entry], Form.CSV)), newline="")

    assert tuple(json.loads(line)) == AUDIT_COLUMNS
    row = next(csv.DictReader(table))
    assert (row["row"], row["hash"], row["who"]) == ("7", "ab" * 32, "'=anna")
    assert json.loads(row["facts"]) == {"why": "grün"}
