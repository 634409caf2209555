"""The user of the operating system, for the audit of commands."""

import getpass
import os


def user_name() -> str:
    """Return who runs this process, by number if the system has no name for it, as in a container."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # KeyError up to Python 3.12.
        return f"uid {os.getuid()}"
