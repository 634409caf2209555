"""The settings of capability studies."""

from pathlib import Path

from linewatch.setting_types import NamedPath, Section


class StudySettings(Section):
    """Studies with known parts: docs/capability.md."""

    path: NamedPath = Path("var/studies")  # Studies, their results, and sets of parts to repeat.
