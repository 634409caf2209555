"""Everything that teaches beside a line, or without one, built from the settings."""

from types import TracebackType
from typing import Self

from linewatch.line.commands import Commands
from linewatch.line.station import Station
from linewatch.runtime.paused_processes import PausedProcesses
from linewatch.settings import Settings
from linewatch.teach.collector import Collector
from linewatch.teach.datasets import Datasets
from linewatch.teach.learning import Learning
from linewatch.teach.score_maps import ScoreMaps
from linewatch.teach.thumbnails import Thumbnails
from linewatch.web.office_backend import OfficeBackend
from linewatch.web.teach.teach_backend import TeachBackend


class Teacher:
    """Data sets, collector and learning of one station; leaving the block ends the processes of the page.

    Learning goes on: its process outlives this one.
    """

    def __init__(self, settings: Settings, beside: PausedProcesses | None = None) -> None:
        self._settings = settings
        self._datasets = Datasets(settings.teach, settings.evidence.free_bytes_min)
        self._thumbnails = Thumbnails(self._datasets)
        self._maps = ScoreMaps(self._datasets, settings.models, settings.evidence.free_bytes_min)
        self._learning = Learning(settings, self._datasets, beside=beside)
        self.collector = Collector(self._datasets, self._thumbnails)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._learning.close()
        self._maps.close()
        self._thumbnails.close()

    def beside(self, station: Station, commands: Commands, page: OfficeBackend) -> TeachBackend:
        """Return the backend of the teach pages beside a line."""

        def on_line() -> tuple[str, str]:
            now = station.snapshot()
            return now.product, now.model

        return TeachBackend(
            self._settings,
            self._datasets,
            self._thumbnails,
            self._maps,
            self._learning,
            collector=self.collector,
            commands=commands,
            on_line=on_line,
            changed=page.forget_products,
        )

    def alone(self, page: OfficeBackend) -> TeachBackend:
        """Return the backend of the teach pages where no line runs."""
        return TeachBackend(
            self._settings,
            self._datasets,
            self._thumbnails,
            self._maps,
            self._learning,
            changed=page.forget_products,
        )
