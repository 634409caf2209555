"""Decide about one image: quality gate, registration, scoring, drift and the rule that judges."""
