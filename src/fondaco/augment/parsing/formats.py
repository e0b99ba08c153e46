"""Which kind of document it is, by its content before its name, and who reads it."""

from __future__ import annotations

import codecs
import importlib
import pkgutil
import zipfile
from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

from fondaco.augment.parsing.archive import open_archive
from fondaco.augment.parsing.faults import Unreadable
from fondaco.augment.parsing.text import cut, decoded
from fondaco.augment.parsing.wire import Job, Parsed

Kind: TypeAlias = Literal["pdf", "docx", "xlsx", "pptx", "epub", "html", "text"]
Reader: TypeAlias = Callable[[Job, bytes], Parsed]

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_BOMS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_HTML_NAMES = (".html", ".htm", ".xhtml", ".shtml")
_HTML_TYPES = ("text/html", "application/xhtml+xml")
# What no text holds: control characters but for tab, line feeds and escape.
_BINARY = frozenset(range(32)) - frozenset(b"\t\n\x0b\x0c\r\x1b")

_MODULES: Mapping[Kind, str] = {
    "pdf": "pdf",
    "docx": "word",
    "xlsx": "sheets",
    "pptx": "slides",
    "epub": "books",
    "html": "pages",
}


def load() -> None:
    """Import all that any document may need, so that a fork finds it in memory. What is not installed is left out."""
    for name in set(_MODULES.values()):
        try:
            importlib.import_module(f"{__package__}.{name}").load()
        except ImportError:
            continue
    for codec in pkgutil.iter_modules(importlib.import_module("encodings").__path__):
        if codec.name not in ("mbcs", "oem", "cp65001"):
            importlib.import_module(f"encodings.{codec.name}")


def parse(job: Job, data: bytes) -> Parsed:
    """What a document says. Its fault is told where it says nothing."""
    try:
        kind = kind_of(job, data)
        if kind == "text":
            parsed = Parsed(text=decoded(data, job.charset))
        else:
            read: Reader = importlib.import_module(f"{__package__}.{_MODULES[kind]}").read
            parsed = read(job, data)
    except Unreadable as unreadable:
        return Parsed(fault=unreadable.fault)
    except ImportError:
        return Parsed(fault="not_installed")
    except MemoryError:
        return Parsed(fault="too_much")
    except Exception:
        # Whatever a library raises over foreign bytes says no more than this, and may quote them.
        return Parsed(fault="damaged")
    return cut(parsed, job.max_characters)


def kind_of(job: Job, data: bytes) -> Kind:
    """Raises Unreadable for what is none of the kinds."""
    name, start = job.name.lower(), data[:1024]
    if b"%PDF-" in start:
        return "pdf"
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _kind_of_archive(data)
    if start.startswith(_OLE):
        raise Unreadable("encrypted" if _holds_encryption(data) else "unsupported")
    if not start.startswith(_BOMS) and any(byte in _BINARY for byte in start):
        raise Unreadable("unsupported")
    beginning = start.lstrip(codecs.BOM_UTF8 + b" \t\r\n").lower()
    if (
        name.endswith(_HTML_NAMES)
        or job.media_type in _HTML_TYPES
        or beginning.startswith((b"<!doctype html", b"<html"))
    ):
        return "html"
    return "text"


def _kind_of_archive(data: bytes) -> Kind:
    try:
        with open_archive(data) as archive:
            names = set(archive.namelist())
            if "word/document.xml" in names:
                return "docx"
            if "xl/workbook.xml" in names:
                return "xlsx"
            if "ppt/presentation.xml" in names:
                return "pptx"
            if "META-INF/container.xml" in names:
                return "epub"
    except zipfile.BadZipFile:
        raise Unreadable("damaged") from None
    raise Unreadable("unsupported")


def _holds_encryption(data: bytes) -> bool:
    """An Office document with a password is an old-style file around what is encrypted."""
    return "EncryptedPackage".encode("utf-16-le") in data
