"""Self-contained HTML reports: of a training, of a calibration, and of an evaluation on labelled images."""
