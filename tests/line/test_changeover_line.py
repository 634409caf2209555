from pathlib import Path

from tests.chaos import changeover
from tests.mosquitto import Mosquitto


def test_a_line_changes_to_and_fro_by_command(tmp_path: Path) -> None:
    """Each verdict is of the product and model it names, each changeover is answered and audited."""
    broker = Mosquitto(tmp_path)
    broker.start()
    models, parts = changeover.simulated(tmp_path)
    try:
        seen = changeover.run(tmp_path, broker, models, parts, changes=4, resident_bytes_max=10**9)
    finally:
        broker.stop()

    assert [change.answer["code"] for change in seen.changes] == [0] * 4
    assert seen.of_wrong_product() == []
    assert {verdict["product"] for _, verdict in seen.passes} == {"dark", "light"}
    assert seen.audited == 5  # The start, too.
    compared, wrong = changeover.rescore(models, parts, seen.rows)
    assert (compared >= 8, wrong) == (True, 0)
