"""Tokens a second through the gateway, against the same engine's own HTTP, on a real model."""
