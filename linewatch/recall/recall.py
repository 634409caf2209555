"""Answer "since when?": the parts of the journal that look like one image, and the time they cluster in."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from linewatch.domain import Image, Verdict
from linewatch.errors import ImageError, LinewatchError, NotRegistered, RecipeError
from linewatch.models.bundle import Bundle, read_bundle, versions_with_same_scores
from linewatch.models.engine import OpenVinoEngine
from linewatch.models.judge_file import judge_image
from linewatch.models.loader import build_scorer
from linewatch.models.recipe_file import load_recipe
from linewatch.recall.answer import Answer, Incomparable, SimilarPart, Window
from linewatch.recall.scan import HOUR_MS, Scan, scan_file, usual_of
from linewatch.recall.similarity import View
from linewatch.recall.windows import Cluster, find_clusters
from linewatch.settings import Settings
from linewatch.storage.journal_reader import JournalFile, JournalReader
from linewatch.storage.signatures import RESULTS, SignatureFile, folder_of, signature_files
from linewatch.vision.image_io import read_image
from linewatch.vision.signature import Signature, summarise

LIMIT = 50
LIMIT_MAX = 1000


@dataclass(frozen=True, slots=True)
class Question:
    """What to look for, and where."""

    product: str
    since_ms: int | None = None  # Exposed at or after this, UTC;
    until_ms: int | None = None  # exposed before this.
    limit: int = LIMIT  # Similar parts to list, at least those of the windows.
    model: str = ""  # A version that judges the listed parts again, where their images are kept.


def recall(settings: Settings, image: Image, question: Question) -> Answer:
    """Return the parts most similar to an image of one, and the windows in which they cluster.

    Reads the files beside the journal only; the daemon need not run, and is not disturbed. Raises
    LinewatchError if there is nothing to compare with, RecipeError for an unfit product or model, and
    StorageFull.
    """
    folder = folder_of(settings.journal.path)
    files = signature_files(folder, question.product, question.since_ms, question.until_ms)
    if not files:
        raise LinewatchError(
            f"there are no signatures of {question.product!r} of this time in {str(folder)!r}; "
            "parts have them from the first start with journal.signatures = true on"
        )
    scan, gaps, models = Scan(), [], []
    for group in _by_model(settings.models.path, files):
        try:
            like = _signature(settings, question.product, image, group.bundle)
        except RecipeError as trouble:
            gaps.append(_gap(group.files, str(trouble)))
            continue
        gap = _scan_group(scan, group.files, like, question)
        if gap is not None:
            gaps.append(gap)
        else:
            models += sorted({file.kind.model for file in group.files})
    if not scan.scanned:
        raise LinewatchError(
            "no part can be compared: "
            + "; ".join(f"{gap.parts} of model {gap.model}: {gap.why}" for gap in gaps)
            if gaps
            else f"no part of {question.product!r} was made in this time; look at another time"
        )
    view, clusters = _most_telling(scan)
    answer = _answer(scan, view, clusters, question)
    answer = replace(answer, models=tuple(models), incomparable=tuple(gaps))
    answer = _with_journal(answer, settings.journal.path)
    return _judged_again(answer, settings, question) if question.model else answer


@dataclass(frozen=True, slots=True)
class _Group:
    """Files whose signatures are comparable: of one model, and of those that differ in thresholds only."""

    files: list[SignatureFile]
    bundle: Callable[[], Bundle]  # Raises RecipeError if no such version is left.


def _by_model(models: Path, files: Sequence[SignatureFile]) -> list[_Group]:
    """Return the files by model, each group in the order of production."""
    groups: list[tuple[frozenset[str], _Group]] = []
    for file in files:
        for known, group in groups:
            if file.kind.model in known and file.kind.channels == group.files[0].kind.channels:
                group.files.append(file)
                break
        else:
            known, bundle = _version(models, file.kind.product, file.kind.model)
            groups.append((known, _Group([file], bundle)))
    return [group for _, group in groups]


def _version(models: Path, product: str, version: str) -> tuple[frozenset[str], Callable[[], Bundle]]:
    try:
        bundle = read_bundle(models, product, version)
    except RecipeError as trouble:
        error = trouble

        def missing() -> Bundle:
            raise error

        return frozenset({version}), missing
    return versions_with_same_scores(models, bundle), lambda: bundle


def _signature(settings: Settings, product: str, image: Image, bundle: Callable[[], Bundle]) -> Signature:
    """Return the signature that the image would have had with this model. Raises RecipeError."""
    version = bundle().version
    recipe, found = load_recipe(settings.models.recipes, product, settings.models.path, version)
    scorer = build_scorer(found, OpenVinoEngine(found.graph, threads=settings.models.threads))
    try:
        return summarise(scorer.score(image, recipe))
    except NotRegistered as trouble:
        raise RecipeError(f"the part is not found in the image ({trouble})") from trouble
    except ImageError as trouble:
        raise RecipeError(f"the image does not fit the recipe: {trouble}") from trouble


def _scan_group(
    scan: Scan, files: Sequence[SignatureFile], like: Signature, question: Question
) -> Incomparable | None:
    times = question.since_ms, question.until_ms
    usual = usual_of(files, *times)
    if usual is None:
        return _gap(files, "too few parts to know what is usual")
    for file in files:
        scan_file(scan, file, like, usual, *times)
    return None


def _gap(files: Sequence[SignatureFile], why: str) -> Incomparable:
    return Incomparable(
        model=", ".join(sorted({file.kind.model for file in files})),
        parts=sum(file.rows for file in files),
        first_day=files[0].path.parent.name,
        last_day=files[-1].path.parent.name,
        why=why,
    )


def _most_telling(scan: Scan) -> tuple[View, list[Cluster]]:
    """Return the view with the least probable cluster, else the first that every part has."""
    found = {
        view: find_clusters(rows["position"], scan.scanned, tries=len(View))
        for view, rows in scan.best.items()
    }
    clustered = [view for view in found if found[view]]
    if clustered:
        view = min(clustered, key=lambda view: found[view][0].p)
        return view, found[view]
    return next((view for view in View if view in found), View.WHOLE), []


def _answer(scan: Scan, view: View, clusters: Sequence[Cluster], question: Question) -> Answer:
    rows = scan.best.get(view)
    if rows is None:
        rows = next(iter(scan.best.values()), None)
    assert rows is not None, "a scan of parts has views"
    places = {int(position): place for place, position in enumerate(rows["position"])}
    inside = {position for cluster in clusters for position in cluster.similar}
    parts = tuple(
        _part(row, in_window=int(row["position"]) in inside)
        for place, row in enumerate(rows)
        if place < question.limit or int(row["position"]) in inside
    )[:LIMIT_MAX]
    similar = parts if not clusters else tuple(part for part in parts if part.in_window)
    windows = tuple(
        Window(
            first_ms=int(rows["captured_ms"][[places[at] for at in cluster.similar]].min()),
            last_ms=int(rows["captured_ms"][[places[at] for at in cluster.similar]].max()),
            similar=len(cluster.similar),
            parts=cluster.last - cluster.first + 1,
            elsewhere=cluster.elsewhere,
            p=cluster.p,
        )
        for cluster in clusters
    )
    counted: dict[int, int] = {}
    for part in similar:
        hour = part.captured_ms // HOUR_MS * HOUR_MS
        counted[hour] = counted.get(hour, 0) + 1
    return Answer(
        product=question.product,
        view=view,
        scanned=scan.scanned,
        windows=windows,
        parts=parts,
        hours=tuple((hour, counted.get(hour, 0), scan.hours[hour]) for hour in sorted(scan.hours)),
        model=question.model,
    )


def _part(row: Any, *, in_window: bool) -> SimilarPart:
    return SimilarPart(
        boot=int(row["boot"]),
        seq=int(row["seq"]),
        captured_ms=int(row["captured_ms"]),
        similarity=round(float(row["similarity"]), 4),
        result=RESULTS[int(row["result"]) % len(RESULTS)],
        raw=round(float(row["raw"]), 5),
        threshold=round(float(row["threshold"]), 5),
        in_window=in_window,
    )


def _with_journal(answer: Answer, journal: Path) -> Answer:
    """Add what the journal knows of the parts; a part that retention removed keeps its numbers."""
    if not journal.is_file():
        return answer
    with JournalReader(JournalFile(journal)) as reader:
        return replace(
            answer,
            parts=tuple(_with_verdict(part, reader.verdict(part.boot, part.seq)) for part in answer.parts),
        )


def _with_verdict(part: SimilarPart, verdict: Verdict | None) -> SimilarPart:
    if verdict is None:
        return part
    return replace(part, part=verdict.part, image=verdict.image, result=verdict.result, model=verdict.model)


def _judged_again(answer: Answer, settings: Settings, question: Question) -> Answer:
    """Add the results of another model for the parts whose images are kept. Raises RecipeError."""
    models = settings.models
    recipe, bundle = load_recipe(models.recipes, question.product, models.path, question.model)
    scorer = build_scorer(bundle, OpenVinoEngine(bundle.graph, threads=models.threads))

    def judged(part: SimilarPart) -> SimilarPart:
        if not part.image:
            return part
        try:
            image = read_image(settings.evidence.path / part.image)
        except ImageError:  # Retention removed it.
            return part
        verdict, _ = judge_image(image, scorer, recipe, station=settings.station.name)
        return replace(part, again=verdict.result, again_score=verdict.score)

    return replace(answer, model=bundle.version, parts=tuple(map(judged, answer.parts)))
