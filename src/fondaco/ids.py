"""Identifiers that we hand out. All are random; none says when or for whom it was made."""

from __future__ import annotations

import os
import uuid


def completion_id() -> str:
    """`chatcmpl-` and 32 hex digits, as clients expect of a chat answer."""
    return "chatcmpl-" + os.urandom(16).hex()


def tool_call_id() -> str:
    return "call_" + os.urandom(12).hex()


def request_id() -> str:
    """The value of `CF-RAY`: what a user quotes when something went wrong."""
    return os.urandom(8).hex()


def row_id() -> str:
    return str(uuid.uuid4())
