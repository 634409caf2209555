"""Read text files as editors on other systems save them, and write what these may open."""

import codecs
from pathlib import Path

_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # Also the first bytes of UTF-32's mark.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


class NotUtf8Error(ValueError):
    """The file is in another encoding; the text says in which and what to do."""


def read_utf8(path: Path) -> str:
    """Return the text of a file, without a byte-order mark. Raises OSError and NotUtf8Error."""
    data = path.read_bytes()
    if data.startswith(_UTF16) or b"\0" in data[:4]:
        raise NotUtf8Error("it is UTF-16; save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise NotUtf8Error(
            f"line {line} has the byte 0x{data[error.start]:02X}, which is not UTF-8; "
            "it may be Latin-1 or Windows-1252: save it as UTF-8"
        ) from error
    return text.replace("\r\n", "\n")


def harmless_cell(value: object) -> object:
    """Return a value for a cell of CSV: a spreadsheet would run a text that begins like a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
