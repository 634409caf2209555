"""Named users with roles, their passwords and sessions, and named tokens for machines."""
