"""Benchmarks: what the gateway costs, measured against the real thing. See README.md beside this file."""

import os

# As `fondaco.engines` does, for models that are loaded here without it.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
