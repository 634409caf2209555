"""Teach on the page: pages and API for data sets, learning, versions and thresholds."""
