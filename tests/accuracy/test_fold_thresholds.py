"""Thresholds that hold on parts made later: images of one run of production are left out together."""

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from linewatch.domain import Image
from linewatch.training.calibrate import calibrate
from linewatch.training.network.model import Design, train_scorer

SIDE_PX = 64
WANTED = 0.05
LOOK = np.random.default_rng(7).uniform(60, 180, (8, 8, 3)).astype(np.float32)


def made_in(runs: int, parts: int, seed: int) -> NDArray[np.uint8]:
    """Return images of good parts; each run has its own position, colour cast and shading."""
    rng = np.random.default_rng(seed)
    base = cv2.resize(LOOK, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_CUBIC)
    images: list[Image] = []
    for _ in range(runs):
        cast, (across, down) = rng.normal(0, 6, 3), rng.normal(0, 0.75, 2)
        shading = cv2.resize(rng.normal(0, 6, (6, 6, 3)), (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_CUBIC)
        matrix = np.array([[1, 0, across], [0, 1, down]])
        moved = cv2.warpAffine(base + shading, matrix, (SIDE_PX, SIDE_PX), borderMode=cv2.BORDER_REFLECT)
        noise = rng.normal(0, 4, (parts, *moved.shape))
        images += list(np.clip(moved + cast + noise, 0, 255).astype(np.uint8))
    return np.stack(images)


@pytest.fixture(scope="module")
def later() -> NDArray[np.uint8]:
    """Return parts of forty later runs."""
    return made_in(40, 1, seed=2)


def rejected(train: NDArray[np.uint8], later: NDArray[np.uint8], **order: Any) -> float:
    """Return the share of later good parts that a threshold for `WANTED` rejects."""
    part_mask = np.ones((SIDE_PX // 8, SIDE_PX // 8), np.float32)
    scorer = train_scorer(train, part_mask, replace(Design(), autoencoder=False), 0, **order)
    scores = tuple(float(score) for score in scorer.maps.max(axis=(1, 2)))
    threshold = calibrate(scores, WANTED).threshold
    found = [float(scorer.network(image[None], training=False)[0][0]) for image in later]
    return float(np.mean(np.array(found) > threshold))


def test_thresholds_from_runs_in_time_hold_where_random_folds_do_not(later: NDArray[np.uint8]) -> None:
    """Of sixteen short runs, folds of successive images keep the wanted rate; random folds reject most."""
    train = made_in(16, 7, seed=1)
    shuffled = np.random.default_rng(0).permutation(len(train))

    in_time, at_random = rejected(train, later), rejected(train, later, groups=shuffled)

    assert in_time <= 2 * WANTED < 0.3 < at_random, (in_time, at_random)


def test_thresholds_from_whole_runs_hold_where_parts_of_them_do_not(later: NDArray[np.uint8]) -> None:
    """Of ten long runs, blocks of successive images share runs between folds; known runs are not shared."""
    train = made_in(10, 12, seed=1)

    whole, blocks = rejected(train, later, runs=np.repeat(np.arange(10), 12)), rejected(train, later)

    assert whole <= 2 * WANTED < 0.3 < blocks, (whole, blocks)
