"""What the program says of itself: logs and access lines. Never what its callers said."""
