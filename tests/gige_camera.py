"""A real GigE Vision camera for tests: Aravis's fake one, run by the system's Python.

Usage: gige_camera.py SERIAL LOST. It speaks GVCP and GVSP on 127.0.0.1 until killed; LOST is the share
of the packets that get lost, 0.0 to 1.0. It prints a line when it is ready.
"""

import sys

import gi

gi.require_version("Aravis", "0.8")
from gi.repository import Aravis, GLib, GObject  # noqa: E402


def main(serial: str, lost: str) -> None:
    """Run the camera until killed."""
    camera = GObject.new(
        Aravis.GvFakeCamera, interface_name="127.0.0.1", serial_number=serial, gvsp_lost_ratio=float(lost)
    )
    print("ready" if camera.is_running() else "the port of GigE Vision is in use", flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
