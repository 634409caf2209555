import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linewatch.acquisition.sources.simulator.source import (
    DEFECTS,
    Simulator,
    SimulatorOptions,
    parse_options,
    render,
)
from linewatch.errors import ConfigError


def test_the_same_seed_and_number_give_the_same_bytes() -> None:
    """A part can be rendered again, with its defect, byte by byte."""
    for defect in (None, *DEFECTS):
        assert render(7, 3, defect).tobytes() == render(7, 3, defect).tobytes()


def test_other_seeds_and_numbers_give_other_pictures() -> None:
    """No two parts of a line look exactly alike."""
    images = {render(seed, number).tobytes() for seed in (1, 2) for number in (1, 2, 3)}

    assert len(images) == 6


@pytest.mark.parametrize("size", [96, 320, 500])
def test_a_picture_has_the_size_that_was_asked_for(size: int) -> None:
    """Images are square, colour, one byte per channel, neither black nor saturated."""
    image = render(1, 1, None, size)

    assert image.shape == (size, size, 3)
    assert image.dtype == np.uint8
    assert 40 < image.mean() < 140


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defect_can_be_seen_and_stays_on_the_part(defect: str) -> None:
    """Every defect changes a visible patch, and nothing else in the image."""
    for number in range(12):
        change = np.abs(render(5, number, defect).astype(int) - render(5, number)).max(axis=2)

        assert np.count_nonzero(change > 40) >= 25, number
        assert np.count_nonzero(change > 4) < 0.12 * change.size
        belt = np.ones_like(change, bool)
        belt[36:-36, 36:-36] = False
        assert not change[belt].any()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31 - 1), number=st.integers(1, 10**9), defect=st.sampled_from(DEFECTS))
def test_any_seed_can_be_rendered(seed: int, number: int, defect: str) -> None:
    """Every position, size and direction that a seed can draw can be painted."""
    assert render(seed, number, defect, 96).shape == (96, 96, 3)


def test_the_source_shows_what_its_truth_says() -> None:
    """Frame n is the image of part n with the defect that `truth(n)` names."""
    with Simulator("seed=3&defects=0.5&size=96&count=12") as simulator:
        truths = [simulator.truth(seq) for seq in range(1, 13)]
        for seq, defect in enumerate(truths, 1):
            frame = simulator.read()
            assert frame is not None and frame.image is not None
            assert frame.image.tobytes() == render(3, seq, defect, 96).tobytes()
            assert frame.simulated

        assert simulator.read() is None
    assert {None} < set(truths) <= {None, *DEFECTS}


def test_the_share_of_defects_is_kept() -> None:
    """`defects` is the share of defective parts, and every kind occurs."""
    simulator = Simulator("seed=11&defects=0.2")
    truths = [simulator.truth(seq) for seq in range(1, 3001)]

    assert sum(defect is not None for defect in truths) == pytest.approx(600, abs=70)
    assert set(truths) == {None, *DEFECTS}
    assert not any(Simulator("defects=0").truth(seq) for seq in range(1, 100))
    assert all(Simulator("defects=1").truth(seq) for seq in range(1, 100))


def test_a_pool_is_shown_again_and_again() -> None:
    """With a pool, nothing is rendered after opening, and the truth follows the cycle."""
    with Simulator("seed=2&defects=0.5&size=96&pool=3") as simulator:
        frames = [simulator.read() for _ in range(7)]
        images = [frame.image for frame in frames if frame is not None]

        assert [images[k] is images[k + 3] for k in range(4)] == [True] * 4
        assert simulator.truth(5) == simulator.truth(2)
    assert frames[0] is not None and frames[6] is not None
    assert frames[6].captured_ns > frames[0].captured_ns


def test_opening_again_starts_again() -> None:
    """Reopening the simulator starts the same sequence again."""
    simulator = Simulator("seed=4&size=96&count=1")
    seen = []
    for _ in range(2):
        with simulator:
            frame = simulator.read()
            assert frame is not None and frame.image is not None
            seen.append(frame.image.tobytes())

    assert seen[0] == seen[1]


def test_an_empty_address_means_the_defaults() -> None:
    """The simulator needs no address."""
    assert parse_options("") == SimulatorOptions()
    assert parse_options("seed=7&defects=0.25&size=200&pool=4&count=9") == SimulatorOptions(
        seed=7, defects=0.25, size=200, pool=4, count=9
    )


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("sede=7", "did you mean seed?"),
        ("xyz=7", "known are seed, defects, size, enlarge, light, pool, count, belt, touching"),
        ("seed=x", "seed must be a number from 0 to"),
        ("defects=1.5", "defects must be a number from 0.0 to 1.0, not '1.5'"),
        ("defects=nan", "defects must be a number from"),
        ("size=20", "size must be a number from 96 to 2048, not '20'"),
        ("size=320.5", "size must be"),
        ("pool=", "pool must be"),
        ("parts/", "known are seed"),
    ],
)
def test_a_wrong_address_is_refused_with_a_hint(uri: str, words: str) -> None:
    """Each mistake in the address is one sentence that names it."""
    with pytest.raises(ConfigError, match=r"^source\.uri ") as caught:
        Simulator(uri)

    assert words in str(caught.value)


def test_the_same_belt_comes_again_from_the_same_seed() -> None:
    """Images and ground truth are identical; the source ends when `count` parts have passed."""
    seen = []
    for _ in range(2):
        with Simulator("belt=40&seed=5&size=96&count=2&defects=0.5") as simulator:
            assert simulator.belt is not None
            images, parts = [], set()
            while (frame := simulator.read()) is not None:
                assert frame.image is not None
                images.append(frame.image.tobytes())
                parts |= set(simulator.belt.in_view())
            assert simulator.belt.passed() == 2
            seen.append((images, parts))

    assert seen[0] == seen[1]
    assert {1, 2} <= seen[0][1]


def test_a_part_lies_on_the_belt_where_the_truth_says() -> None:
    """The bright area's middle is at the position that `in_view` returns, until the part leaves."""
    with Simulator("belt=20&seed=2&size=320&touching=0&defects=0") as simulator:
        belt = simulator.belt
        assert belt is not None
        checked = 0
        while checked < 10:
            frame = simulator.read()
            assert frame is not None and frame.image is not None
            places = belt.in_view()
            if len(places) == 1 and abs(place := next(iter(places.values()))) < 40:
                bright = np.flatnonzero((frame.image[..., 1] > 100).mean(axis=0) > 0.1)
                assert (bright[0] + bright[-1]) / 2 - 160 == pytest.approx(place, abs=6)
                checked += 1
