"""What a recorded part leaves on the disk."""
