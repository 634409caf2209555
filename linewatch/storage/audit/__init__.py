"""The audit: every act that changes what passes, in rows that are chained by their hashes."""
