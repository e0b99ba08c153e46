"""PPTX by python-pptx: slide by slide, titles, text, tables and notes."""

from __future__ import annotations

import importlib
import io
from collections.abc import Iterator
from typing import Any

from fondaco.augment.parsing.office import properties
from fondaco.augment.parsing.text import Gathered, cell, table
from fondaco.augment.parsing.wire import Job, Parsed

_DEEPEST = 16


def load() -> None:
    importlib.import_module("pptx")


def read(job: Job, data: bytes) -> Parsed:
    pptx: Any = importlib.import_module("pptx")
    slides = Gathered(job.max_characters)
    for number, slide in enumerate(pptx.Presentation(io.BytesIO(data)).slides, 1):
        pieces = [f"## Slide {number}", *_said(slide.shapes)]
        if slide.has_notes_slide and (frame := slide.notes_slide.notes_text_frame) is not None and frame.text:
            pieces.append(f"Notes: {frame.text}")
        slides.add("\n\n".join(pieces))
        if slides.enough:
            break
    title, date = properties(data)
    return Parsed(text=slides.text(), title=title, date=date, cut=slides.enough)


def _said(shapes: Any, depth: int = 0) -> Iterator[str]:
    for shape in shapes:
        if shape.has_text_frame and shape.text_frame.text.strip():
            yield shape.text_frame.text
        elif getattr(shape, "has_table", False) and shape.has_table:
            yield table([[cell(column.text) for column in row.cells] for row in shape.table.rows])
        elif hasattr(shape, "shapes") and depth < _DEEPEST:
            yield from _said(shape.shapes, depth + 1)
