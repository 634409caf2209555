"""Time and size of the image formats that evidence could be kept in.

    python -m tests.benchmarks.encodings

Frames of the simulated line, enlarged to a camera's size, with sensor noise; processor time of one thread,
median of five.
"""

import statistics
import time

import cv2

from linewatch.acquisition.sources.simulator.source import Simulator
from linewatch.cli.bench import machine
from linewatch.storage.evidence import PNG

MEGAPIXELS = (0.3, 2.0, 5.0, 12.0)
SAMPLING = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)
FORMATS: dict[str, tuple[str, tuple[int, ...]]] = {
    "JPEG 90": (".jpg", (cv2.IMWRITE_JPEG_QUALITY, 90)),
    "JPEG 95 4:4:4 (default)": (".jpg", (cv2.IMWRITE_JPEG_QUALITY, 95, *SAMPLING)),
    "PNG, Huffman only (lossless)": (".png", PNG),
    "PNG, level 1": (".png", (cv2.IMWRITE_PNG_COMPRESSION, 1)),
    "TIFF, LZW": (".tif", (cv2.IMWRITE_TIFF_COMPRESSION, 5)),
    "BMP": (".bmp", ()),
}


def main() -> None:
    """Print the table."""
    print("| format | " + " | ".join(f"{size:g} MP" for size in MEGAPIXELS) + " |")
    print("|---|" + "---|" * len(MEGAPIXELS))
    frames = []
    for size in MEGAPIXELS:
        with Simulator(f"seed=5&enlarge={round((size * 1e6) ** 0.5)}") as source:
            frame = source.read()
        assert frame is not None and frame.image is not None
        frames.append(frame.image)
    for name, (suffix, options) in FORMATS.items():
        cells = []
        for image in frames:
            times = []
            for _ in range(5):
                started = time.thread_time()
                data = cv2.imencode(suffix, image, options)[1]
                times.append(time.thread_time() - started)
            cells.append(f"{1000 * statistics.median(times):.0f} ms, {len(data) / 1e6:.1f} MB")
        print(f"| {name} | " + " | ".join(cells) + " |")
    print(f"\n{machine()}")


if __name__ == "__main__":
    main()
