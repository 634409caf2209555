"""Judge one image: quality gate, registration, scoring, heatmap, drift detection and the threshold rule."""
