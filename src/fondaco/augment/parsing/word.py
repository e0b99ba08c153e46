"""DOCX by mammoth, which makes HTML of it, and that is made Markdown."""

from __future__ import annotations

import importlib
import io
from typing import Any

from fondaco.augment.parsing.office import properties
from fondaco.augment.parsing.pages import markdown
from fondaco.augment.parsing.wire import Job, Parsed


def load() -> None:
    importlib.import_module("mammoth")
    importlib.import_module("markdownify")


def read(job: Job, data: bytes) -> Parsed:
    mammoth: Any = importlib.import_module("mammoth")
    html: str = mammoth.convert_to_html(io.BytesIO(data), convert_image=_no_picture).value
    title, date = properties(data)
    return Parsed(text=markdown(html), title=title, date=date)


def _no_picture(image: Any) -> list[Any]:
    return []
