"""Learning one product from good pictures; the only part that needs the [train] extra."""
