"""Fondaco: a private AI platform that speaks the Venice.ai and OpenAI APIs."""

__version__ = "0.1.0"

# The revision of the contract we serve, sent as `x-venice-version` in the vendor's own form (YYYYMMDD.HHMMSS).
CONTRACT_VERSION = "20260129.172322"
