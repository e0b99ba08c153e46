"""The way to engines: which one, over which wire, and what comes back as typed events."""
