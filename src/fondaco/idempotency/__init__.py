"""Requests with an `Idempotency-Key`: run and charged at most once, however often they are sent."""
