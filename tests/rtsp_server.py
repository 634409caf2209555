"""A real RTSP camera for tests: Debian's GStreamer server, run by the system's Python.

Usage: rtsp_server.py PORT mjpeg|h264. It prints its port when it is ready. Each picture carries, as
24 black or white blocks along its top, the milliseconds of the monotonic clock when it was made.
"""

import sys
import time

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstApp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstApp, GstRtspServer  # noqa: E402, F401 - GstApp teaches appsrc to push

WIDTH, HEIGHT, BLOCK, BITS, FPS = 320, 240, 12, 24, 25
ENCODERS = {
    "mjpeg": "jpegenc ! rtpjpegpay name=pay0",
    "h264": "openh264enc gop-size=25 ! h264parse ! rtph264pay config-interval=1 name=pay0",
}


def draw() -> bytes:
    """Draw one I420 picture that says when it was made."""
    stamp = time.monotonic_ns() // 1_000_000
    bits = bytearray(WIDTH)
    for bit in range(BITS):
        if stamp >> bit & 1:
            bits[bit * BLOCK : (bit + 1) * BLOCK] = b"\xff" * BLOCK
    ramp = bytes(40 + column // 2 for column in range(WIDTH))
    grey = bytes(bits) * BLOCK + ramp * (HEIGHT - BLOCK)
    return grey + b"\x80" * (WIDTH * HEIGHT // 2)


def configure(_factory: object, media: GstRtspServer.RTSPMedia) -> None:
    """Feed a stream at its pace for as long as somebody watches."""
    source = media.get_element().get_by_name("src")

    def push() -> bool:
        done: bool = source.push_buffer(Gst.Buffer.new_wrapped(draw())) == Gst.FlowReturn.OK
        return done

    GLib.timeout_add(1000 // FPS, push)


def main(port: str, kind: str) -> None:
    """Serve rtsp://127.0.0.1:PORT/line1 until killed."""
    Gst.init(None)
    caps = f"video/x-raw,format=I420,width={WIDTH},height={HEIGHT},framerate={FPS}/1"
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(
        f"( appsrc name=src is-live=true do-timestamp=true format=time caps={caps} ! {ENCODERS[kind]} )"
    )
    factory.connect("media-configure", configure)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)
    server.get_mount_points().add_factory("/line1", factory)
    server.attach(None)
    print(server.get_bound_port(), flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
