"""A simulated line: rendered parts with and without defects on a moving belt."""
