"""Benchmarks: what the gateway costs, measured against the real thing. See README.md beside this file."""
