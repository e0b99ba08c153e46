"""PDF by pypdf."""

from __future__ import annotations

import importlib
import io
import re
from typing import Any

from fondaco.augment.parsing.faults import Unreadable
from fondaco.augment.parsing.text import Gathered
from fondaco.augment.parsing.wire import Job, Parsed

_DATE = re.compile(r"D:(\d{4})(\d{2})(\d{2})")


def load() -> None:
    importlib.import_module("pypdf")


def read(job: Job, data: bytes) -> Parsed:
    pypdf: Any = importlib.import_module("pypdf")
    reader: Any = pypdf.PdfReader(io.BytesIO(data))
    if reader.is_encrypted and not _opens(reader):
        raise Unreadable("encrypted")
    pages = Gathered(job.max_characters)
    for page in reader.pages:
        pages.add(page.extract_text() or "")
        if pages.enough:
            break
    facts: Any = reader.metadata or {}
    date = _DATE.match(str(facts.get("/CreationDate") or ""))
    return Parsed(
        text=pages.text(),
        title=str(facts.get("/Title") or ""),
        date="-".join(date.groups()) if date else "",
        cut=pages.enough,
    )


def _opens(reader: Any) -> bool:
    """With no password: some are encrypted only to say what may be done with them."""
    try:
        return bool(reader.decrypt(""))
    except Exception:
        return False  # also where it is encrypted in a way that needs another library
