import threading

import pytest

from linewatch.runtime.lane import Lane, LaneClosed


def test_items_leave_in_the_order_they_came() -> None:
    """A lane is first in, first out, and drains after it is closed."""
    lane = Lane[int]("numbers", 3)
    with lane:
        for number in (1, 2, 3):
            lane.put(number)

    assert list(lane.items(lambda: None, 0.01)) == [1, 2, 3]


def test_a_full_lane_makes_the_producer_wait() -> None:
    """Without a shed rule the producer waits until the consumer took one item."""
    lane = Lane[int]("numbers", 1)
    lane.put(1)
    producer = threading.Thread(target=lane.put, args=(2,))
    producer.start()

    assert lane.take(1) == 1
    producer.join(5)

    assert not producer.is_alive()
    assert lane.take(1) == 2


def test_a_shedding_lane_keeps_a_place_for_every_item() -> None:
    """When it is full the oldest whole item is replaced where it stands; none vanishes."""
    lane = Lane[str]("frames", 2, shed=lambda item: f"{item} shed")
    for item in ("a", "b", "c", "d"):
        lane.put(item)
    lane.close()

    assert len(lane) == 2
    assert list(lane.items(lambda: None, 0.01)) == ["a shed", "b shed", "c", "d"]


def test_a_shedding_lane_sheds_again_after_some_were_taken() -> None:
    """Taking a shed item makes no room for a whole item; taking a whole item does."""
    lane = Lane[str]("frames", 2, shed=str.upper)
    for item in ("a", "b", "c"):
        lane.put(item)

    assert lane.take(1) == "A"
    lane.put("d")
    assert [lane.take(1) for _ in range(3)] == ["B", "c", "d"]


def test_an_offer_to_a_full_lane_is_refused() -> None:
    """`offer` returns False at once when there is no room."""
    lane = Lane[int]("triggers", 1)

    assert lane.offer(1)
    assert not lane.offer(2)


def test_nothing_can_be_put_once_the_consumer_has_gone() -> None:
    """Abandoning wakes a waiting producer with LaneClosed and empties the lane."""
    lane = Lane[int]("numbers", 1)
    lane.put(1)
    refused = threading.Event()

    def produce() -> None:
        with pytest.raises(LaneClosed):
            lane.put(2)
        refused.set()

    producer = threading.Thread(target=produce)
    producer.start()
    lane.abandon()
    producer.join(5)

    assert refused.is_set()
    with pytest.raises(LaneClosed):
        lane.take(0)


def test_an_idle_consumer_is_heard() -> None:
    """`items` calls `idle` when no item came, so that a waiting stage still counts progress."""
    lane = Lane[int]("numbers", 1)

    assert list(lane.items(lane.close, 0.001)) == []


def test_a_lane_is_bounded_in_bytes_too() -> None:
    """The oldest items are shed until the newest fits; a single item of any size does."""
    lane = Lane[int]("frames", 10, shed=lambda _size: 0, bytes_max=100, nbytes=lambda size: size)
    for size in (40, 40, 70, 500, 30):
        lane.put(size)
    lane.close()

    assert list(lane.items(lambda: None, 1.0)) == [0, 0, 0, 0, 30]


def test_a_lane_that_cannot_shed_waits_for_bytes() -> None:
    """Room that the consumer makes is room again."""
    lane = Lane[int]("inspections", 10, bytes_max=100, nbytes=lambda size: size)
    assert lane.offer(60)
    assert not lane.offer(60)
    assert lane.take() == 60
    assert lane.offer(60)
