"""Kill a process that writes to the audit, again and again: `python -m tests.benchmarks.audit_kills [10000]`.

Prints how many rows were reported as written and how many there are, and verifies the chain at the end.
"""

import sys
import tempfile
import time
from pathlib import Path

from linewatch.storage.journal_reader import JournalFile, JournalReader
from tests.storage.test_audit import killed_while_writing

KILLS = 10_000


def main() -> int:
    """Return 0 if no row is lost and the chain is intact."""
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else KILLS
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.db"
        started = time.monotonic()
        reported = killed_while_writing(path, kills)
        with JournalReader(JournalFile(path)) as reader:
            found = reader.verify_audit()
        print(
            f"{kills} kills in {time.monotonic() - started:.0f} s: {reported} rows reported, "
            f"{found.head.row} in the chain; {found.trouble or 'intact'}"
        )
        return 0 if found.intact and found.head.row >= reported else 1


if __name__ == "__main__":
    sys.exit(main())
