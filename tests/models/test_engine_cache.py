from pathlib import Path

from linewatch.models.engine import OpenVinoEngine
from linewatch.models.engine_cache import EngineCache, bytes_needed
from tests.bundles import models_in, teach


def test_the_engine_used_longest_ago_goes_first(tmp_path: Path) -> None:
    """Room for two of three: using one again keeps it."""
    models = models_in(tmp_path)
    one, two, three = (
        teach(models, name, level=level) for name, level in (("a", 100), ("b", 120), ("c", 140))
    )
    engines = EngineCache(2 * bytes_needed(one))
    for bundle in (one, two, one, three):
        engines.keep(bundle, engines.get(bundle) or OpenVinoEngine(bundle.graph, threads=1))

    assert [engines.get(bundle) is not None for bundle in (one, two, three)] == [True, False, True]


def test_the_engine_in_use_stays_whatever_the_budget(tmp_path: Path) -> None:
    """A budget of nothing means: only what judges now."""
    bundle = teach(models_in(tmp_path))
    engines = EngineCache(0)
    engines.keep(bundle, OpenVinoEngine(bundle.graph, threads=1))

    assert engines.get(bundle) is not None


def test_versions_with_the_same_graph_share_one_engine(tmp_path: Path) -> None:
    """A calibration changes numbers; nothing has to be compiled for it."""
    models = models_in(tmp_path)
    one, other = teach(models), teach(models, golden=[])
    engines = EngineCache(0)
    engines.keep(one, OpenVinoEngine(one.graph, threads=1))

    assert one.version != other.version
    assert engines.get(other) is engines.get(one)
