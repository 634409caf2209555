"""linewatch: live camera line inspection, one process for one camera."""

__version__ = "0.1.0"
