"""Read what image files say of themselves: completeness, orientation, pages, colour model."""

import re
import struct

_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # In scan data; 00 is stuffing, D0 to D7 are restarts.
_EOI, _SOS = 0xD9, 0xDA
_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})  # SOF0 to SOF15.
_ORIENTATION, _PHOTOMETRIC, _SUBFILE, _CMYK = 274, 262, 254, 5
_DIRECTORIES_MAX = 64


def jpeg_problem(data: bytes) -> str:
    """Return what is wrong with a JPEG's structure, "" if nothing is.

    Follows the segments, so that the end of a thumbnail inside them does not count as the end (ITU-T T.81 B).
    """
    place = 2
    while (found := _MARKER.search(data, place)) is not None:
        marker, place = found[0][1], found.end()
        if marker == _EOI:
            return ""
        if marker == 0x01:  # TEM stands alone.
            continue
        length = int.from_bytes(data[place : place + 2], "big")
        if marker in _FRAMES and len(data) > place + 7 and data[place + 7] == 4:
            return "is a CMYK image for printing; save it as RGB"
        place += max(length, 2)
    return "is cut off or damaged; copy or save it again"


def tiff_problem(data: bytes) -> str:
    """Return why a TIFF's first page is not the image a person sees, "" if it is."""
    directories = tiff_directories(data)
    if directories and directories[0].get(_PHOTOMETRIC) == _CMYK:
        return "is a CMYK image for printing; save it as RGB"
    pages = sum(not entries.get(_SUBFILE, 0) & 1 for entries in directories)  # 1 is a preview.
    if pages > 1:
        return f"has {pages} pages; save the one to inspect as a file of its own"
    return ""


def exif_orientation(exif: bytes) -> int:
    """Return the orientation in EXIF data, 1 (upright) to 8; 1 if there is none."""
    directories = tiff_directories(exif.removeprefix(b"Exif\0\0"))
    found = directories[0].get(_ORIENTATION, 1) if directories else 1
    return found if 1 <= found <= 8 else 1


def tiff_directories(data: bytes) -> list[dict[int, int]]:
    """Return tag and value of the short and long numbers in each directory; stops at the first damage."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    directories: list[dict[int, int]] = []
    if order is None:
        return directories
    try:
        (place,) = struct.unpack_from(f"{order}I", data, 4)
        while place and len(directories) < _DIRECTORIES_MAX:
            (count,) = struct.unpack_from(f"{order}H", data, place)
            entries = {}
            for number in range(count):
                tag, kind, values, value = struct.unpack_from(f"{order}HHI4s", data, place + 2 + 12 * number)
                if values == 1 and kind in (3, 4):
                    entries[tag] = struct.unpack(f"{order}{'HI'[kind - 3]}", value[: 2 * (kind - 2)])[0]
            directories.append(entries)
            (place,) = struct.unpack_from(f"{order}I", data, place + 2 + 12 * count)
    except struct.error:
        pass
    return directories
