"""Counts of parts and marks for the promised rates, and the PASS parts drawn for re-inspection."""
