"""Local inference: the servers that run models on this machine, their supervisor, and the store of their weights."""
