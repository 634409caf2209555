"""What a long-running process needs: lanes, stages, back-off, signals, systemd, memory and atomic files."""
