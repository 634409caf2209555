"""Pages on what was done and what came of it: the audit."""
