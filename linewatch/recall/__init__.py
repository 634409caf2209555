"""Find the parts of the journal that look like a given one, and when they were made."""
