"""Capability studies on the page: plan, walk through, result, sets of parts that are studied again."""
