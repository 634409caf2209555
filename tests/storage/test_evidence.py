"""The evidence folder on a real disk: atomic writes, every bound kept, FAILs kept longest."""

import math
import os
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import pytest

from linewatch.domain import Image, Reason, Result, Verdict
from linewatch.errors import StorageFull
from linewatch.settings import EvidenceSettings
from linewatch.storage.evidence import RETRY_S, Evidence
from tests.disks import SmallDisk

DAY_S = 86_400
TODAY_S = 1_790_000_000  # 2026-09-21
TODAY = datetime.fromtimestamp(TODAY_S, UTC).date()


class Clock:
    """A clock set by the test, for dates and for waiting."""

    now_s: float = TODAY_S

    def __call__(self) -> float:
        """Return the seconds since 1970, also used as monotonic seconds."""
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    """Return a clock that stands still."""
    return Clock()


def evidence_in(folder: Path, clock: Clock, **settings: object) -> Evidence:
    """Open a folder with small bounds."""
    chosen = {"path": folder, "free_bytes_min": 0, "lossless": list(Result), **settings}
    return Evidence(EvidenceSettings.model_validate(chosen), utc_s=clock, clock_s=clock)


def verdict(seq: int, result: Result = Result.FAIL, *, days_ago: int = 0, boot: int = 41) -> Verdict:
    """Return one part's verdict."""
    return Verdict(
        station="station1",
        boot=boot,
        seq=seq,
        product="bottle",
        product_index=3,
        model="7f3a91c2",
        result=result,
        reason=Reason.NONE,
        captured_ms=(TODAY_S - days_ago * DAY_S) * 1000,
    )


def picture(height: int = 60, width: int = 80) -> Image:
    """Return noise, which does not compress."""
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def keep(evidence: Evidence, each: Verdict) -> str:
    """Keep a part's frame; return its name."""
    name = evidence.frame_name(each)
    evidence.write(name, picture())
    return name


def left(folder: Path) -> list[str]:
    """Return every file below a folder, hidden ones too."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def sweep_all(evidence: Evidence) -> int:
    """Sweep until nothing is left to do; return how many files were removed."""
    total = evidence.sweep()
    while removed := evidence.sweep():
        total += removed
    return total


def test_names_tell_day_result_and_part(tmp_path: Path, clock: Clock) -> None:
    """A path names day, result, boot and sequence."""
    evidence = evidence_in(tmp_path, clock)

    assert evidence.frame_name(verdict(1023)) == f"{TODAY}/fail/41-1023.png"
    assert evidence.heatmap_name(verdict(1023)) == f"{TODAY}/fail/41-1023.jpg"
    assert evidence.heatmap_name(verdict(1, Result.UNSURE)) == f"{TODAY}/unsure/41-1.jpg"
    assert evidence.frame_name(verdict(2, Result.PASS)) == f"{TODAY}/pass/41-2.png"
    assert evidence.heatmap_name(verdict(2, Result.PASS)) == ""


def test_the_views_of_a_part_leave_with_it(tmp_path: Path, clock: Clock) -> None:
    """The oldest part's images are removed first, whatever views they are."""
    evidence = evidence_in(tmp_path, clock, bytes_max=4 * 14_000)
    for seq in (1, 2, 10):
        name = keep(evidence, verdict(seq))
        evidence.write(name.replace(".png", ".view2.png"), picture())

    assert sweep_all(evidence) == 3
    folder = f"{TODAY}/fail"
    assert left(tmp_path) == [f"{folder}/41-10.png", f"{folder}/41-10.view2.png", f"{folder}/41-2.view2.png"]


def test_a_frame_comes_back_as_it_was_and_a_heatmap_as_jpeg(tmp_path: Path, clock: Clock) -> None:
    """A PNG frame is lossless; a heatmap is JPEG."""
    evidence = evidence_in(tmp_path, clock)
    frame_name, heatmap_name = evidence.frame_name(verdict(1)), evidence.heatmap_name(verdict(1))
    evidence.write(frame_name, picture())
    evidence.write(heatmap_name, picture(50, 128))

    back = cv2.imread(str(tmp_path / frame_name))
    assert back is not None
    assert (back == picture()).all()
    drawn = tmp_path / heatmap_name
    assert drawn.read_bytes().startswith(b"\xff\xd8\xff")
    assert cv2.imread(str(drawn)).shape == (50, 128, 3)  # type: ignore[union-attr]
    assert evidence.bytes_kept == sum(path.stat().st_size for path in tmp_path.rglob("*.*") if path.is_file())


def test_a_frame_that_may_lose_a_little_keeps_its_colours(tmp_path: Path, clock: Clock) -> None:
    """JPEG without chroma subsampling: a thin red line stays as red as it was."""
    evidence = evidence_in(tmp_path, clock, lossless=["FAIL"])
    image = np.full((64, 64, 3), 128, np.uint8)
    image[:, 31] = (0, 0, 255)
    name = evidence.frame_name(verdict(1, Result.PASS))
    assert name == f"{TODAY}/pass/41-1.frame.jpg"
    evidence.write(name, image)

    back = cv2.imread(str(tmp_path / name))
    assert back is not None
    assert np.abs(back.astype(int) - image).max() <= 12


def test_large_images_are_handed_to_the_disk_at_once(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flush of half a minute of frames must not hold up the journal; a heatmap is too small for that."""
    handed: list[int] = []
    monkeypatch.setattr(os, "posix_fadvise", lambda file, *_: handed.append(os.fstat(file).st_size))
    evidence = evidence_in(tmp_path, clock)
    noise = np.random.default_rng(1).integers(0, 255, (300, 300, 3), np.uint8)
    frame = evidence.frame_name(verdict(1))

    evidence.write(frame, noise)
    evidence.write(evidence.heatmap_name(verdict(1)), noise[:50, :50])

    assert handed == [(tmp_path / frame).stat().st_size]


def test_a_full_disk_keeps_nothing_half(small_disk: SmallDisk, clock: Clock) -> None:
    """No partial file stays, the error is one sentence, and writing resumes when there is room."""
    folder = small_disk.folder / "evidence"
    evidence = evidence_in(folder, clock)
    keep(evidence, verdict(1))
    small_disk.fill()
    with pytest.raises(StorageFull, match="No space left on device; free some room"):
        keep(evidence, verdict(2))
    assert left(folder) == [f"{TODAY}/fail/41-1.png"]
    small_disk.empty()

    # For a moment the disk is left alone: no frame is promised, and a heatmap is refused at once.
    name, heatmap_name = evidence.frame_name(verdict(3)), evidence.heatmap_name(verdict(3))
    assert name == ""
    with pytest.raises(StorageFull, match="No space left"):
        evidence.write(heatmap_name, picture())
    clock.now_s += RETRY_S
    assert keep(evidence, verdict(4)) == f"{TODAY}/fail/41-4.png"


def test_a_read_only_disk_is_one_sentence(small_disk: SmallDisk, clock: Clock) -> None:
    """Linux remounts a failing disk read-only."""
    evidence = evidence_in(small_disk.folder / "evidence", clock)
    keep(evidence, verdict(1))
    with small_disk.read_only(), pytest.raises(StorageFull, match="Read-only file system"):
        keep(evidence, verdict(2))


def test_room_for_the_journal_is_left(small_disk: SmallDisk, clock: Clock) -> None:
    """Evidence stops at `free_bytes_min`, long before the disk is full."""
    evidence = evidence_in(small_disk.folder, clock, free_bytes_min=500_000)
    with pytest.raises(StorageFull, match="less than 500000 bytes are free"):
        for seq in range(1, 1000):
            keep(evidence, verdict(seq))

    assert evidence.free_bytes() > 450_000


def test_room_for_one_image_is_not_enough_to_resume(tmp_path: Path, clock: Clock) -> None:
    """Writing resumes with room for several images, which retention makes, so that it does not flap."""
    evidence = evidence_in(tmp_path, clock, free_bytes_min=1_000_000)
    evidence.free_bytes = lambda: free  # type: ignore[method-assign]  # a disk that others fill
    free = 1_000_000
    keep(evidence, verdict(1))
    free = 999_999
    with pytest.raises(StorageFull) as caught:
        keep(evidence, verdict(2, Result.FAIL))
    assert caught.value.no_room

    free = 1_000_000
    with pytest.raises(StorageFull):
        evidence.probe()
    assert sweep_all(evidence) == 1

    free = 1_000_000 + max(100_000, 10 * picture().nbytes)
    evidence.probe()
    free = 1_000_000  # From here on down it works until the bound is met again.
    keep(evidence, verdict(3))
    assert left(tmp_path) == [name for name in left(tmp_path) if name.endswith("-3.png")]


def test_too_many_bytes_cost_passes_first_and_fails_last(tmp_path: Path, clock: Clock) -> None:
    """Of one result the oldest are removed first, by day and then by part number."""
    evidence = evidence_in(tmp_path, clock)
    size = len(cv2.imencode(".png", picture(), [cv2.IMWRITE_PNG_COMPRESSION, 1])[1])
    order = [
        keep(evidence, verdict(seq, result, days_ago=days))
        for result in (Result.PASS, Result.ERROR, Result.UNSURE, Result.FAIL)
        for seq, days in ((9, 1), (8, 0), (10, 0))
    ]
    for remaining in range(len(order), 0, -1):
        smaller = evidence_in(tmp_path, clock, bytes_max=remaining * size)
        sweep_all(smaller)
        assert left(tmp_path) == sorted(order[len(order) - remaining :])
        assert smaller.bytes_kept == remaining * size


def test_too_little_free_space_removes_images(small_disk: SmallDisk, clock: Clock) -> None:
    """When others fill the disk, images are removed until `free_bytes_min` is free."""
    evidence = evidence_in(small_disk.folder, clock)
    for seq in range(1, 21):
        keep(evidence, verdict(seq))
    tight = evidence_in(small_disk.folder, clock, free_bytes_min=evidence.free_bytes() + 40_000)

    assert 0 < sweep_all(tight) < 20
    assert keep(tight, verdict(99))


def test_old_images_are_removed_whatever_their_result(tmp_path: Path, clock: Clock) -> None:
    """Retention by age removes FAILs, too, and empty folders; files of others stay."""
    evidence = evidence_in(tmp_path, clock, retention_days=30)
    keep(evidence, verdict(1, days_ago=31))
    kept = keep(evidence, verdict(2, days_ago=30))
    gone = keep(evidence, verdict(3, Result.UNSURE, days_ago=400))
    (tmp_path / str(TODAY)).mkdir()
    (tmp_path / str(TODAY) / "notes.txt").write_text("mine")

    assert sweep_all(evidence) == 2
    assert left(tmp_path) == sorted([kept, f"{TODAY}/notes.txt"])
    assert not (tmp_path / gone).parent.parent.exists()
    assert evidence.bytes_kept == (tmp_path / kept).stat().st_size


def test_a_clock_set_back_removes_nothing(tmp_path: Path, clock: Clock) -> None:
    """Images with a date in the future are kept."""
    evidence = evidence_in(tmp_path, clock)
    keep(evidence, verdict(1))
    clock.now_s -= 400 * DAY_S

    assert sweep_all(evidence) == 0
    assert len(left(tmp_path)) == 1


def test_what_lies_there_from_before_is_counted(tmp_path: Path, clock: Clock) -> None:
    """After a restart the folder is counted again, and partial files of a killed process are removed."""
    before = evidence_in(tmp_path, clock)
    for seq in range(1, 4):
        keep(before, verdict(seq))
    half = tmp_path / str(TODAY) / "fail" / ".41-4.png"
    half.write_bytes(b"half")
    os.utime(half, (TODAY_S - 100, TODAY_S - 100))
    fresh = tmp_path / str(TODAY) / "fail" / ".41-5.png"
    fresh.write_bytes(b"being written now")
    os.utime(fresh, (TODAY_S, TODAY_S))
    again = evidence_in(tmp_path, clock)
    assert again.bytes_kept == 0
    again.sweep()

    assert again.bytes_kept == before.bytes_kept
    assert not half.exists()
    assert fresh.exists()


def test_one_step_is_small(tmp_path: Path, clock: Clock) -> None:
    """A sweep removes 50 files at most."""
    evidence = evidence_in(tmp_path, clock, bytes_max=1)
    for seq in range(1, 121):
        keep(evidence, verdict(seq))

    assert [evidence.sweep() for _ in range(5)] == [50, 50, 20, 0, 0]


def test_the_days_that_the_room_holds_follow_from_the_rate(tmp_path: Path, clock: Clock) -> None:
    """14,400 bytes an hour into room for ten days of it; at first nothing is known."""
    evidence = evidence_in(tmp_path, clock, bytes_max=24 * 10 * 14_540)
    assert evidence.days_left() == math.inf
    size = 0
    for hour in range(3):
        size += (tmp_path / keep(evidence, verdict(hour))).stat().st_size
        clock.now_s += 3600

    assert evidence.days_left() == pytest.approx(24 * 10 * 14_540 / (size / 3 * 24))


def test_yesterdays_rate_counts_when_it_was_higher(tmp_path: Path, clock: Clock) -> None:
    """A restart before the first part must not promise years."""
    keep(evidence_in(tmp_path, clock), verdict(1, days_ago=1))
    evidence = evidence_in(tmp_path, clock, bytes_max=10 * 14_540)
    sweep_all(evidence)

    assert evidence.days_left() == pytest.approx(10, rel=0.05)
