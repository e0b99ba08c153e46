"""Identifiers that we hand out. All are random; none says when or for whom it was made."""

from __future__ import annotations

import os
import uuid

_BLOCK = 4096


class _Digits:
    """Random hex digits, drawn from the system a block at a time: a system call for each id would cost more than it."""

    __slots__ = ("_at", "_digits")

    def __init__(self) -> None:
        self._digits = ""
        self._at = 0

    def take(self, count: int) -> str:
        end = self._at + count
        if end > len(self._digits):
            self._digits = os.urandom(_BLOCK).hex()
            self._at, end = 0, count
        taken = self._digits[self._at : end]
        self._at = end
        return taken

    def forget(self) -> None:
        self._digits = ""
        self._at = 0


_digits = _Digits()
# A forked process must not go on with its parent's digits.
os.register_at_fork(after_in_child=_digits.forget)


def completion_id() -> str:
    """`chatcmpl-` and 32 hex digits, as clients expect of a chat answer."""
    return "chatcmpl-" + _digits.take(32)


def tool_call_id() -> str:
    return "call_" + _digits.take(24)


def request_id() -> str:
    """The value of `CF-RAY`: what a user quotes when something went wrong."""
    return _digits.take(16)


def row_id() -> str:
    return str(uuid.uuid4())
