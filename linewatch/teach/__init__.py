"""Teach a product: data sets on disk, collecting beside the line, learning in a process, thresholds."""
