"""Limits for documents in tests: less patience than the usual ones."""

from __future__ import annotations

from fondaco.augment.parsing.wire import Limits

LIMITS = Limits(memory_bytes=200 * 1024 * 1024, cpu_seconds=2, seconds=4)
