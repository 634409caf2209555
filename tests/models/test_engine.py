"""The OpenVINO engine with real graphs."""

import threading
from pathlib import Path

import numpy as np
import pytest

from linewatch.errors import RecipeError
from linewatch.models.bundle import GRAPH
from linewatch.models.engine import OpenVinoEngine
from tests.bundles import models_in, part, teach


def test_an_engine_scores_a_crop(tmp_path: Path) -> None:
    """The score is the largest value of the map, and the next run does not overwrite the map."""
    engine = OpenVinoEngine(teach(models_in(tmp_path)).graph, threads=1)

    first = engine.run(part(50))
    engine.run(part())

    assert engine.input_shape == (64, 64)
    assert first.score == pytest.approx(5.0)
    assert first.anomaly_map.shape == (8, 8)
    assert first.anomaly_map.max() == pytest.approx(5.0)


@pytest.mark.parametrize(("embedding", "expected"), [(True, [10.0]), (False, [])])
def test_an_engine_returns_the_embedding_if_its_graph_has_one(
    tmp_path: Path, embedding: bool, expected: list[float]
) -> None:
    """A model trained before embeddings were introduced returns none; the next run does not overwrite it."""
    engine = OpenVinoEngine(teach(models_in(tmp_path), embedding=embedding).graph, threads=1)

    output = engine.run(part())
    assert engine.run(part(30)).score == pytest.approx(3.0)

    assert output.embedding.dtype == np.float32
    assert output.embedding.tolist() == pytest.approx(expected)


def test_threads_may_share_an_engine(tmp_path: Path) -> None:
    """Concurrent callers each get their own result."""
    engine = OpenVinoEngine(teach(models_in(tmp_path)).graph, threads=1)
    wrong: list[float] = []

    def ask(blob: int) -> None:
        for _ in range(100):
            score = engine.run(part(blob)).score
            if abs(score - blob / 10) > 1e-3:
                wrong.append(score)

    threads = [threading.Thread(target=ask, args=(blob,)) for blob in (10, 30, 50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []


def test_a_compiled_graph_can_be_cached(tmp_path: Path) -> None:
    """The next start loads it from the cache folder."""
    graph = teach(models_in(tmp_path)).graph
    OpenVinoEngine(graph, cache=tmp_path / "cache")

    assert list((tmp_path / "cache").iterdir())
    assert OpenVinoEngine(graph, cache=tmp_path / "cache").run(part(20)).score == pytest.approx(2.0)


@pytest.mark.parametrize("text", ["", "<net/>", "no xml at all"])
def test_an_invalid_graph_is_one_sentence(tmp_path: Path, text: str) -> None:
    """The C++ message of OpenVINO is reduced to its last line."""
    path = tmp_path / GRAPH
    path.write_text(text)

    with pytest.raises(RecipeError, match=r"does not load: .*; train the product again") as caught:
        OpenVinoEngine(path)

    assert "\n" not in str(caught.value)


def test_a_missing_graph_is_one_sentence(tmp_path: Path) -> None:
    """A file that was removed after the verification is refused like a damaged one."""
    with pytest.raises(RecipeError, match="does not load"):
        OpenVinoEngine(tmp_path / GRAPH)


def test_a_crop_of_another_size_is_a_bug(tmp_path: Path) -> None:
    """A crop of another size is an assertion error."""
    engine = OpenVinoEngine(teach(models_in(tmp_path)).graph)

    with pytest.raises(AssertionError):
        engine.run(np.zeros((32, 32, 3), np.uint8))
