"""Rate limits by account and model, and abuse protection by key."""
