"""EPUB: the chapters in the order in which the book is to be read."""

from __future__ import annotations

import importlib
import posixpath
import zipfile
from typing import Any
from urllib.parse import unquote

from fondaco.augment.parsing.archive import open_archive
from fondaco.augment.parsing.faults import Unreadable
from fondaco.augment.parsing.pages import markdown
from fondaco.augment.parsing.text import Gathered, decoded
from fondaco.augment.parsing.wire import Job, Parsed

_CONTAINER = "META-INF/container.xml"


def load() -> None:
    importlib.import_module("lxml.etree")
    importlib.import_module("markdownify")


def read(job: Job, data: bytes) -> Parsed:
    with open_archive(data) as archive:
        root = _xml(archive, _CONTAINER)
        package = next((str(each.get("full-path")) for each in root.iter("{*}rootfile")), None)
        if package is None or "META-INF/encryption.xml" in archive.namelist():
            raise Unreadable("damaged" if package is None else "encrypted")
        book = _xml(archive, package)
        files = {item.get("id"): item.get("href") for item in book.iter("{*}item")}
        chapters = Gathered(job.max_characters)
        for itemref in book.iter("{*}itemref"):
            href = files.get(itemref.get("idref"))
            if href is None:
                continue
            name = posixpath.normpath(posixpath.join(posixpath.dirname(package), unquote(href)))
            if name in archive.namelist():
                chapters.add(markdown(decoded(archive.read(name))))
            if chapters.enough:
                break
        return Parsed(
            text=chapters.text(),
            title=_first(book, "title"),
            date=_first(book, "date")[:10],
            cut=chapters.enough,
        )


def _xml(archive: zipfile.ZipFile, name: str) -> Any:
    etree: Any = importlib.import_module("lxml.etree")
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    return etree.fromstring(archive.read(name), parser)


def _first(book: Any, name: str) -> str:
    return next((each.text or "" for each in book.iter(f"{{http://purl.org/dc/elements/1.1/}}{name}")), "")
