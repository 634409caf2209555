"""What a shift made, worked out from the journal beside a line that goes first."""
