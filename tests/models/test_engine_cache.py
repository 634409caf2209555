"""The cache of compiled models."""

from pathlib import Path

from linewatch.models.engine import OpenVinoEngine
from linewatch.models.engine_cache import EngineCache, bytes_needed
from tests.bundles import models_in, teach


def test_the_engine_used_longest_ago_is_dropped_first(tmp_path: Path) -> None:
    """With space for two of three engines, one that is used again is kept."""
    models = models_in(tmp_path)
    one, two, three = (
        teach(models, name, level=level) for name, level in (("a", 100), ("b", 120), ("c", 140))
    )
    engines = EngineCache(2 * bytes_needed(one))
    for bundle in (one, two, one, three):
        engines.keep(bundle, engines.get(bundle) or OpenVinoEngine(bundle.graph, threads=1))

    assert [engines.get(bundle) is not None for bundle in (one, two, three)] == [True, False, True]


def test_the_engine_in_use_is_kept_at_any_limit(tmp_path: Path) -> None:
    """A limit of 0 keeps only the engine in use."""
    bundle = teach(models_in(tmp_path))
    engines = EngineCache(0)
    engines.keep(bundle, OpenVinoEngine(bundle.graph, threads=1))

    assert engines.get(bundle) is not None


def test_versions_with_the_same_graph_share_one_engine(tmp_path: Path) -> None:
    """A new calibration needs no compilation."""
    models = models_in(tmp_path)
    one, other = teach(models), teach(models, golden=[])
    engines = EngineCache(0)
    engines.keep(one, OpenVinoEngine(one.graph, threads=1))

    assert one.version != other.version
    assert engines.get(other) is engines.get(one)
