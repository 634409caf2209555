"""Find image files in folders as people, cameras, phones and file servers leave them."""

from collections.abc import Iterator
from pathlib import Path

from linewatch.vision.image_io import SUFFIXES

UNREADABLE_SUFFIXES = frozenset(
    {
        *(".heic", ".heif", ".avif", ".gif", ".jp2", ".jxl", ".psd"),
        *(".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw"),  # Of cameras.
    }
)
# Of file servers, archives and Windows; everything that begins with a dot is hidden, too.
_NOT_OURS = frozenset({"@eadir", "#recycle", "#snapshot", "__macosx", "$recycle.bin", "lost+found"})
_NOT_OURS_FILES = frozenset({"thumbs.db", "desktop.ini"})


def is_hidden(path: Path) -> bool:
    """Whether a file or folder was not put there by a person: hidden, or of a file server or system."""
    return path.name.startswith(".") or path.name.casefold() in _NOT_OURS | _NOT_OURS_FILES


def images_in(folder: Path) -> list[Path]:
    """Return the image files directly in a folder, sorted by name. Raises OSError."""
    return sorted(path for path in visible(folder) if path.suffix.lower() in SUFFIXES and path.is_file())


def folders_in(folder: Path) -> list[Path]:
    """Return the folders directly in a folder, linked ones too, sorted by name. Raises OSError."""
    return sorted(path for path in visible(folder) if path.is_dir())


def unreadable_in(folder: Path) -> list[Path]:
    """Return the images directly in a folder whose format cannot be read. Raises OSError."""
    return sorted(path for path in visible(folder) if path.suffix.lower() in UNREADABLE_SUFFIXES)


def images_below(folder: Path) -> Iterator[Path]:
    """Yield every image file at any depth. Linked folders are followed, each once. Raises OSError."""
    visited = set()
    pending = [folder]
    while pending:
        place = pending.pop()
        identity = place.stat()
        if (key := (identity.st_dev, identity.st_ino)) in visited:
            continue
        visited.add(key)
        yield from images_in(place)
        pending += folders_in(place)


def visible(folder: Path) -> Iterator[Path]:
    """Yield what is directly in a folder and was put there by a person. Raises OSError."""
    return (path for path in folder.iterdir() if not is_hidden(path))
