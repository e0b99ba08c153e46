"""Foreign media, looked at within bounds before anybody decodes it."""
