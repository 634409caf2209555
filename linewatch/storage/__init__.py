"""What survives a restart: the journal (SQLite) and the evidence images."""
