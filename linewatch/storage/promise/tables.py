"""Tables of the promised rates in the journal's file.

- A *test* covers the parts of one model with the same thresholds.
- A *period* is at most one day of a test. It is known by the row of its first part, so a clock that is set
  wrong confuses nothing. Its counts outlive the rows, which retention removes.
- A *reinspection* is a PASS part that was drawn, kept until retention removes its row.
"""

COUNTED = (
    "passed", "failed", "unsure",
    "passed_good", "passed_defect", "failed_good", "failed_defect", "unsure_good", "unsure_defect",
    "drawn", "drawn_good", "drawn_defect",
)  # fmt: skip
"""Columns of a period: parts by result, those marked good or defect, and those drawn for re-inspection."""

TABLES = f"""
CREATE TABLE IF NOT EXISTS promise_progress (one INTEGER PRIMARY KEY CHECK (one = 1),
    first_row INTEGER NOT NULL, row INTEGER NOT NULL, review INTEGER NOT NULL, key BLOB NOT NULL);
INSERT OR IGNORE INTO promise_progress SELECT 1, row + 1, row, review, randomblob(32) FROM
    (SELECT (SELECT coalesce(max(id), 0) FROM verdicts) AS row,
        (SELECT coalesce(max(id), 0) FROM reviews) AS review);
CREATE TABLE IF NOT EXISTS promise_tests (test INTEGER PRIMARY KEY, product TEXT NOT NULL,
    model TEXT NOT NULL, limits TEXT NOT NULL, since_ms INTEGER NOT NULL, last_row INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS promise_tests_by_model ON promise_tests (product, model);
CREATE TABLE IF NOT EXISTS promise_periods (first_row INTEGER PRIMARY KEY, test INTEGER NOT NULL,
    since_ms INTEGER NOT NULL, {", ".join(f"{name} INTEGER NOT NULL DEFAULT 0" for name in COUNTED)});
CREATE INDEX IF NOT EXISTS promise_periods_by_test ON promise_periods (test, first_row);
CREATE TABLE IF NOT EXISTS promise_alarms (product TEXT, promise TEXT, test INTEGER NOT NULL,
    since_ms INTEGER NOT NULL, PRIMARY KEY (product, promise)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS reinspections (row INTEGER PRIMARY KEY, boot INTEGER NOT NULL,
    seq INTEGER NOT NULL, product TEXT NOT NULL, drawn_ms INTEGER NOT NULL, waits INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS reinspections_waiting ON reinspections (row) WHERE waits;
"""
