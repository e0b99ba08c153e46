"""API keys: 256 random bits, shown once, kept only as a keyed hash."""
