"""Read what image files say of themselves: completeness, orientation, pages, colour model.

Decoders return part of a damaged image, or the first of several, without a word; these functions say so.
Each takes a whole file and returns what is wrong with it, "" if nothing is.
"""

import re
import struct
import zlib

_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # In scan data; 00 is stuffing, D0 to D7 are restarts.
_EOI, _SOS = 0xD9, 0xDA
_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})  # SOF0 to SOF15.
_PNM = re.compile(rb"P([2356])(?:\s|#[^\n]*\n)+(\d+)(?:\s|#[^\n]*\n)+(\d+)(?:\s|#[^\n]*\n)+(\d+)\s")
_ORIENTATION, _PHOTOMETRIC, _SUBFILE = 274, 262, 254
_NEGATIVE, _CMYK, _COLOURS = 0, 5, frozenset({0, 1, 2, 3, 5, 6})  # 1 grey, 2 RGB, 3 palette, 6 YCbCr.
_PLACES = ((273, 279), (324, 325))  # Offsets and byte counts of strips, of tiles.
_DIRECTORIES_MAX = 64
_VALUES_MAX = 1_000_000
_CUT_OFF = "is cut off; copy or save it again"
_DAMAGED = "is damaged; copy or save it again"
_CMYK_SENTENCE = "is a CMYK image for printing; save it as RGB"
_ANIMATION = "is an animation; save the picture to inspect as a file of its own"


def structure_problem(data: bytes) -> str:
    """Return what is wrong with an image file of any kind."""
    if data.startswith(b"\x89PNG"):
        return png_problem(data)
    if data.startswith(b"\xff\xd8"):
        return jpeg_problem(data)
    if data.startswith(b"RIFF"):
        return webp_problem(data)
    if data.startswith(b"BM"):
        return bmp_problem(data)
    if data.startswith(b"P"):
        return pnm_problem(data)
    return tiff_problem(data)


def png_problem(data: bytes) -> str:
    """Follow the chunks of a PNG to its end, and verify those that hold the image (PNG 3rd ed., 5.3)."""
    place, view = 8, memoryview(data)
    while place + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        body, end = view[place + 4 : place + 8 + length], place + 12 + length
        if end > len(data):
            break
        if kind[:1].isupper() and zlib.crc32(body) != int.from_bytes(data[end - 4 : end], "big"):
            return _DAMAGED
        if kind == b"acTL" and int.from_bytes(body[4:8], "big") > 1:
            return _ANIMATION
        if kind == b"IEND":
            return ""
        place = end
    return _CUT_OFF


def jpeg_problem(data: bytes) -> str:
    """Follow the segments of a JPEG, so that the end of a thumbnail inside does not count (ITU-T T.81 B)."""
    place = 2
    while (found := _MARKER.search(data, place)) is not None:
        marker, place = found[0][1], found.end()
        if marker == _EOI:
            return ""
        if marker == 0x01:  # TEM stands alone.
            continue
        length = int.from_bytes(data[place : place + 2], "big")
        if marker in _FRAMES and len(data) > place + 7 and data[place + 7] == 4:
            return _CMYK_SENTENCE
        place += max(length, 2)
    return "is cut off or damaged; copy or save it again"


def webp_problem(data: bytes) -> str:
    """Compare the size in a WebP's header, and look for frames (RFC 9649)."""
    if len(data) < 8 + int.from_bytes(data[4:8], "little"):
        return _CUT_OFF
    return _ANIMATION if data[12:16] == b"VP8X" and data[20:21] and data[20] & 2 else ""


def bmp_problem(data: bytes) -> str:
    """Compare the length of an uncompressed BMP with its width and height."""
    try:
        offset, size, width, height, _, bits, compression = struct.unpack_from("<IIiiHHI", data, 10)
    except struct.error:
        return _CUT_OFF
    uncompressed = size >= 40 and compression in (0, 3)
    row_bytes = (width * bits + 31) // 32 * 4
    return _CUT_OFF if uncompressed and len(data) < offset + row_bytes * abs(height) else ""


def pnm_problem(data: bytes) -> str:
    """Compare the length of a PGM or PPM with its width and height, and look at its largest value."""
    found = _PNM.match(data)
    if found is None:
        return _DAMAGED
    kind, width, height, largest = (int(word[:9]) for word in found.groups())
    if largest not in (255, 65_535):
        return f"has values from 0 to {largest}; save it with 0 to 255 or 0 to 65535"
    values = width * height * (3 if kind in (3, 6) else 1)
    # A binary value has one or two bytes; a decimal one a digit and a space, but for the last.
    size = values * (1 if largest == 255 else 2) if kind in (5, 6) else 2 * values - 1
    return _CUT_OFF if len(data) < found.end() + size else ""


def tiff_problem(data: bytes) -> str:
    """Return why a TIFF's first page is not the whole image that a person sees."""
    directories = tiff_directories(data)
    if not directories:
        return ""
    first = directories[0]
    colours = first.get(_PHOTOMETRIC, (1,))[0]
    if colours == _CMYK:
        return _CMYK_SENTENCE
    if colours == _NEGATIVE:
        return "is stored as a negative, white as 0; save it as usual, black as 0"
    if first.get(_SUBFILE, (0,))[0] & 1 or colours not in _COLOURS:
        return "is raw data of a camera or in an unusual colour model; save it as RGB or grey"
    pages = sum(not entries.get(_SUBFILE, (0,))[0] & 1 for entries in directories)  # 1 is a preview.
    if pages > 1:
        return f"has {pages} pages; save the one to inspect as a file of its own"
    return _CUT_OFF if _ends(first) > len(data) else ""


def _ends(directory: dict[int, tuple[int, ...]]) -> int:
    """Return where the last strip or tile ends."""
    pairs = [zip(directory.get(at, ()), directory.get(size, ()), strict=False) for at, size in _PLACES]
    return max((at + size for pair in pairs for at, size in pair), default=0)


def exif_orientation(exif: bytes) -> int:
    """Return the orientation in EXIF data, 1 (upright) to 8; 1 if there is none."""
    directories = tiff_directories(exif.removeprefix(b"Exif\0\0"))
    found = directories[0].get(_ORIENTATION, (1,))[0] if directories else 1
    return found if 1 <= found <= 8 else 1


def tiff_directories(data: bytes) -> list[dict[int, tuple[int, ...]]]:
    """Return tag and values of the short and long numbers in each directory; stops at the first damage."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    directories: list[dict[int, tuple[int, ...]]] = []
    if order is None:
        return directories
    try:
        (place,) = struct.unpack_from(f"{order}I", data, 4)
        while place and len(directories) < _DIRECTORIES_MAX:
            (count,) = struct.unpack_from(f"{order}H", data, place)
            entries = {}
            for number in range(count):
                here = place + 2 + 12 * number
                tag, kind, values = struct.unpack_from(f"{order}HHI", data, here)
                letter = {3: "H", 4: "I"}.get(kind)
                if letter is None or not 1 <= values <= _VALUES_MAX:
                    continue
                inside = values * struct.calcsize(letter) <= 4
                at = here + 8 if inside else struct.unpack_from(f"{order}I", data, here + 8)[0]
                entries[tag] = struct.unpack_from(f"{order}{values}{letter}", data, at)
            directories.append(entries)
            (place,) = struct.unpack_from(f"{order}I", data, place + 2 + 12 * count)
    except struct.error:
        pass
    return directories
