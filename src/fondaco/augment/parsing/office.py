"""What Office documents say of themselves."""

from __future__ import annotations

import re
from html import unescape

from fondaco.augment.parsing.archive import open_archive

_LARGEST = 64 * 1024
_TITLE = re.compile(r"<dc:title[^>]*>([^<]*)<")
_MODIFIED = re.compile(r"<dcterms:modified[^>]*>(\d{4}-\d{2}-\d{2})")


def properties(data: bytes) -> tuple[str, str]:
    """Title and date of the last change; empty where they are not there."""
    with open_archive(data) as archive:
        if "docProps/core.xml" not in archive.namelist():
            return "", ""
        with archive.open("docProps/core.xml") as core:
            said = core.read(_LARGEST).decode("utf-8", "replace")
    title, modified = _TITLE.search(said), _MODIFIED.search(said)
    return unescape(title[1]) if title else "", modified[1] if modified else ""
