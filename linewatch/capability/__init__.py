"""Capability studies: known parts, several passes, and what that proves about the station."""
