from pathlib import Path

from tests.benchmarks.triggers import trial
from tests.mosquitto import Mosquitto


def test_every_trigger_is_answered_and_gets_one_verdict_of_its_own_part(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    """Repeated ones are exposed once, expired ones refused, and no picture is older than its trigger."""
    outcome = trial(tmp_path, mosquitto, count=50, rate=10)

    assert outcome.held, outcome
    assert (outcome.count, outcome.expired, outcome.repeated) == (45, 5, 5)
    assert len(outcome.latencies_ms) == 45
