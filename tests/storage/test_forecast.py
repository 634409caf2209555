import os
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from linewatch.settings import EvidenceSettings
from linewatch.storage.forecast import expected_per_day, folder_bytes, recorded_per_day, room_bytes

NOON_S = datetime(2026, 11, 28, 12, tzinfo=UTC).timestamp()


def keep(root: Path, day: str, size: int, written_s: float = NOON_S - 12 * 3600) -> None:
    """Keep one frame of a day."""
    folder = root / day / "fail"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "41-1.frame.jpg"
    path.write_bytes(bytes(size))
    os.utime(path, (written_s, written_s))


def test_the_rate_is_that_of_the_fuller_day(tmp_path: Path) -> None:
    """Today counts extrapolated to a whole day from its first file on; older days do not."""
    assert recorded_per_day(tmp_path, NOON_S) == 0
    keep(tmp_path, "2026-11-20", 90_000)
    keep(tmp_path, "2026-11-28", 1_000)
    assert recorded_per_day(tmp_path, NOON_S) == 2_000
    keep(tmp_path, "2026-11-28", 1_000, NOON_S - 6 * 3600)
    assert recorded_per_day(tmp_path, NOON_S) == 4_000
    keep(tmp_path, "2026-11-27", 5_000)
    assert recorded_per_day(tmp_path, NOON_S) == 5_000


def test_the_first_minutes_are_not_extrapolated(tmp_path: Path) -> None:
    """One frame just after a start must not count as thousands a day."""
    keep(tmp_path, "2026-11-28", 1_000, NOON_S - 1)

    assert recorded_per_day(tmp_path, NOON_S) == 144_000


@pytest.mark.parametrize(("pass_every", "share"), [(100, 0.03), (0, 0.02), (1, 1.0)])
def test_what_will_be_recorded_follows_from_frame_rate_and_sampling(pass_every: int, share: float) -> None:
    """Two percent of rejects are assumed, and every n-th PASS is kept."""
    frame = np.random.default_rng(1).integers(0, 256, (100, 100, 3), np.uint8)
    settings = EvidenceSettings(pass_every=pass_every)

    per_part = expected_per_day(frame, 10.0, settings) / (10 * 86_400 * share)

    assert 10_000 < per_part < 30_000
    drawn = expected_per_day(frame, 10.0, settings, 0.1) / (10 * 86_400 * min(share + 0.1, 1.0))
    assert drawn == pytest.approx(per_part)


def test_the_room_is_what_settings_and_disk_allow(tmp_path: Path) -> None:
    """Kept evidence counts as room, and the disk's free space less what others are left."""
    keep(tmp_path, "2026-11-20", 90_000)
    assert folder_bytes(tmp_path) == 90_000
    assert room_bytes(EvidenceSettings(path=tmp_path, bytes_max=1_000)) == 1_000
    assert room_bytes(EvidenceSettings(path=tmp_path, free_bytes_min=2**62)) == 0
    assert room_bytes(EvidenceSettings(path=tmp_path, free_bytes_min=0)) > 90_000
