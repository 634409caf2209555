"""A product's versions as its page shows and changes them, by the same functions as the commands."""

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from linewatch.domain import Answer, ReplyCode
from linewatch.errors import LinewatchError, RecipeError, UsageError
from linewatch.identifiers import NAME
from linewatch.line.commands import Commands
from linewatch.models import registry
from linewatch.models.bundle import Bundle, read_bundle, trial_version, versions
from linewatch.models.recipe_file import area_facts, inspected_area
from linewatch.models.training_quality import is_adequate, summarize_training
from linewatch.mqtt.messages import Command
from linewatch.runtime.atomic_files import translate_os_errors
from linewatch.settings import Settings
from linewatch.storage.audit.writing import append_audit
from linewatch.storage.journal_reader import JournalFile, JournalReader
from linewatch.teach import trial_report
from linewatch.teach.curation import has_scores
from linewatch.teach.datasets import Datasets
from linewatch.teach.measuring import read_measured
from linewatch.teach.score_maps import ScoreMaps
from linewatch.teach.thresholds import add_images, predict, save_threshold
from linewatch.teach.thumbnails import Thumbnails
from linewatch.teaching import AuditLine, ThresholdEffect, TrialState, VersionState
from linewatch.web.formatting import milliseconds_of

RELOAD_S = 30.0
AUDIT_READ = 2000  # Newest entries among which those of one product are searched.
AUDIT_SHOWN = 50
COMPARED_MAX = 100_000


class VersionsBackend:
    """The part of `Teaching` on versions; thread-safe. Without `commands` no line runs here."""

    def __init__(
        self,
        settings: Settings,
        datasets: Datasets,
        thumbnails: Thumbnails,
        maps: ScoreMaps,
        *,
        commands: Commands | None = None,
        on_line: Callable[[], tuple[str, str]] = lambda: ("", ""),
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_line` returns product and version that judge now; `changed` is called after a change."""
        self._settings = settings
        self._datasets = datasets
        self._thumbnails = thumbnails
        self._maps = maps
        self._commands = commands
        self._on_line = on_line
        self._changed = changed
        self._changing = threading.Lock()  # Two engineers at once: one after the other.

    def versions(self, product: str) -> Sequence[VersionState]:
        """Return a product's versions, newest first."""
        models = self._settings.models
        active, on_trial = registry.find_active(models.path, product), trial_version(models.path, product)
        try:
            area: Mapping[str, Any] | None = area_facts(*inspected_area(models.recipes, product))
        except (RecipeError, OSError):
            area = None
        found: list[VersionState] = []
        for version in reversed(versions(models.path, product)):
            try:
                bundle = read_bundle(models.path, product, version, verify=False)
            except RecipeError as trouble:
                found.append(_unfit(version, str(trouble), active=version == active))
                continue
            found.append(self._version(bundle, area, active=version == active, trial=version == on_trial))
        return found

    def active_version(self, product: str) -> str:
        """Return the active version, "" before one is."""
        return registry.find_active(self._settings.models.path, product)

    def version_used(self, product: str) -> str:
        """Return the version that judges now, "" if the product is not on the line."""
        name, version = self._on_line()
        return version if name == product else ""

    def activate(self, product: str, version: str, by: str) -> str:
        """Make a version the active one, let the line take it over, and return it."""
        with self._changing:
            self._check_version(product, version)
            registry.activate(self._settings, product, version, who=by)
        return self._take_over(product, version, by)

    def roll_back(self, product: str, by: str) -> str:
        """Make the version before the active one; else as `activate`."""
        self._known(product)
        with self._changing:
            version, _ = registry.rollback(self._settings, product, who=by)
        return self._take_over(product, version, by)

    def try_version(self, product: str, version: str, by: str) -> str:
        """Put a version on trial."""
        with self._changing:
            self._check_version(product, version)
            registry.start_trial(self._settings, product, version, who=by)
        return version

    def promote(self, product: str, by: str) -> str:
        """Make the version on trial the active one."""
        self._known(product)
        with self._changing:
            version, _ = registry.promote_trial(self._settings, product, who=by)
        return self._take_over(product, version, by)

    def discard(self, product: str, by: str) -> str:
        """End the trial."""
        self._known(product)
        with self._changing:
            return registry.discard_trial(self._settings, product, who=by)

    def pin_warning(self, product: str) -> str:
        """Return a sentence if the recipe pins another version than the active one, "" otherwise."""
        try:
            return registry.pin_warning(
                self._settings, product, registry.find_active(self._settings.models.path, product)
            )
        except RecipeError as trouble:
            return str(trouble)

    def trial(self, product: str) -> TrialState | None:
        """Return how the version on trial compares; None if none is."""
        version = trial_version(self._settings.models.path, product)
        if not version:
            return None
        try:
            found = trial_report.report(self._settings, product, version, COMPARED_MAX)
        except UsageError:  # Nothing was compared yet.
            return TrialState(version)
        counts = tuple((line, trial, number) for (line, trial), number in sorted(found.counts.items()))
        return TrialState(version, found.parts, found.agreements, counts, found.live_ms, found.trial_ms)

    def trial_report(self, product: str) -> bytes | None:
        """Return the same as a report in HTML, with images; None if nothing was compared."""
        version = trial_version(self._settings.models.path, product)
        try:
            found = trial_report.report(self._settings, product, version, COMPARED_MAX) if version else None
        except UsageError:
            return None
        return trial_report.page(found, self._settings.evidence.path).encode() if found else None

    def import_archive(self, name: str, data: bytes, by: str) -> tuple[str, str]:
        """Add the version in an archive, and return its product and version."""
        root = self._datasets.root
        with translate_os_errors(root):
            root.mkdir(parents=True, exist_ok=True)
            with NamedTemporaryFile(dir=root, prefix="_upload-", suffix=".tar.gz") as file:
                file.write(data)
                file.flush()
                with self._changing:
                    try:
                        bundle = registry.import_version(self._settings, Path(file.name), who=by)
                    except LinewatchError as trouble:
                        shown = "".join(sign for sign in name if sign.isprintable())[-60:]
                        raise type(trouble)(str(trouble).replace(file.name, shown)) from trouble
        self._changed()
        return bundle.product, bundle.version

    def effect(self, product: str, threshold: float | None, last: int) -> ThresholdEffect:
        """Return what a threshold would do."""
        self._known(product)
        models = self._settings.models
        found = predict(
            product,
            models.path,
            models.recipes,
            self._datasets,
            self._settings.journal.path,
            threshold=threshold,
            last=last,
        )
        evidence = self._settings.evidence.path
        return add_images(found, product, self._thumbnails, self._maps, self._datasets, evidence)

    def score_map(self, product: str, key: str, place: str, name: str) -> bytes | None:
        """Return the score map of an image as WebP; None if there is none."""
        self._known(product)
        return self._maps.read(product, key, place, name)

    def save_threshold(self, product: str, threshold: float, by: str) -> str:
        """Write and activate a version with this threshold; else as `activate`."""
        self._known(product)
        with self._changing:
            version = save_threshold(self._settings, product, threshold, by)
        return self._take_over(product, version, by)

    def audit(self, product: str) -> Sequence[AuditLine]:
        """Return the newest audit entries of a product."""
        if not self._settings.journal.path.exists():
            return []
        with JournalReader(JournalFile(self._settings.journal.path)) as reader:
            entries = reader.audit(AUDIT_READ)
        found: list[AuditLine] = []
        for entry in entries:
            facts = {key: str(value) for key, value in entry.facts.items()}
            named = [facts.get(key, "").split("/")[0] for key in ("from", "to")]
            about = [facts["product"]] if "product" in facts else named
            if product in about and len(found) < AUDIT_SHOWN:
                before, after = facts.get("from", ""), facts.get("to", "")
                found.append(
                    AuditLine(entry.at_ms, entry.who, entry.action, before, after, facts.get("why", ""))
                )
        return found

    def _version(
        self, bundle: Bundle, area: Mapping[str, Any] | None, *, active: bool, trial: bool
    ) -> VersionState:
        calibration, facts = bundle.calibration, bundle.training
        try:
            sentence, adequate = summarize_training(facts), is_adequate(facts)
        except KeyError:  # Written by another program.
            sentence, adequate = "", True
        learnt = {key: facts[key] for key in ("roi", "mask_digest") if key in facts}
        return VersionState(
            version=bundle.version,
            created_ms=milliseconds_of(bundle.created),
            threshold=calibration.threshold,
            unsure_threshold=calibration.unsure_threshold,
            images=len(calibration.scores),
            false_reject=calibration.false_reject,
            bound=calibration.bound,
            active=active,
            on_trial=trial,
            report=(bundle.folder / "report.html").exists(),
            measured=read_measured(self._datasets, bundle.product, bundle.version),
            sentence=sentence,
            adequate=adequate,
            scored=has_scores(bundle),
            other_area=bool(learnt) and area is not None and learnt != area,
        )

    def _known(self, product: str) -> None:
        """Raise UsageError for a product without a recipe."""
        if not NAME.fullmatch(product) or not (self._settings.models.recipes / f"{product}.toml").exists():
            raise UsageError(f"product {product[:40]!r} has no recipe; begin to teach it first")

    def _check_version(self, product: str, version: str) -> None:
        self._known(product)
        if version not in versions(self._settings.models.path, product):
            raise UsageError(f"product {product!r} has no version {version[:20]!r}; load the page again")

    def _take_over(self, product: str, version: str, by: str) -> str:
        """Let the line load the product anew if it is the one on the line, and return the version."""
        self._changed()
        if self._commands is None or self._on_line()[0] != product:
            return version
        answers: list[Answer] = []
        answered = threading.Event()

        def done(answer: Answer) -> None:
            answers.append(answer)
            answered.set()

        self._commands.request(Command("reload", 0, who=by), done)
        if not answered.wait(RELOAD_S):
            raise LinewatchError(f"{version} is active but not loaded after {RELOAD_S:.0f} s; see the log")
        if answers[0].code is not ReplyCode.DONE:
            raise LinewatchError(f"{version} is active but not loaded: {answers[0].reason}")
        return version

    def _audit(self, by: str, action: str, product: str, before: str, after: str, why: str) -> None:
        facts = {"product": product, "from": before, "to": after, "why": why}
        append_audit(self._settings.journal.path, by, action, facts)


def _unfit(version: str, trouble: str, *, active: bool) -> VersionState:
    return VersionState(
        version=version,
        created_ms=0,
        threshold=0.0,
        unsure_threshold=0.0,
        images=0,
        false_reject=0.0,
        bound=None,
        active=active,
        on_trial=False,
        report=False,
        measured=None,
        sentence="",
        adequate=False,
        scored=False,
        other_area=False,
        trouble=trouble,
    )
