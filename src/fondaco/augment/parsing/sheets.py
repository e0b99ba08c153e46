"""XLSX by openpyxl: each sheet as a table, row by row, so that a huge one is never held whole."""

from __future__ import annotations

import importlib
import io
from typing import Any

from fondaco.augment.parsing.office import properties
from fondaco.augment.parsing.text import Gathered, cell, table
from fondaco.augment.parsing.wire import Job, Parsed

MAX_COLUMNS = 200
"""Of a row; what stands further right is left out."""


def load() -> None:
    importlib.import_module("openpyxl")


def read(job: Job, data: bytes) -> Parsed:
    openpyxl: Any = importlib.import_module("openpyxl")
    book: Any = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True, keep_links=False)
    sheets = Gathered(job.max_characters)
    for sheet in book.worksheets:
        sheet.reset_dimensions()  # they may claim a million rows
        rows = Gathered(job.max_characters)
        found: list[list[str]] = []
        for row in sheet.iter_rows(values_only=True, max_col=MAX_COLUMNS):
            cells = ["" if value is None else cell(value) for value in row]
            while cells and not cells[-1]:
                cells.pop()
            if cells:
                found.append(cells)
                rows.add(" | ".join(cells))
            if rows.enough:
                break
        if found:
            sheets.add(f"## {cell(sheet.title)}\n\n{table(found)}")
        if sheets.enough:
            break
    title, date = properties(data)
    return Parsed(text=sheets.text(), title=title, date=date, cut=sheets.enough)
