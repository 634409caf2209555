"""Process plumbing: lanes, stages, back-off, signals, systemd, memory settings, atomic files."""
