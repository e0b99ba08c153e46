"""Zip files, looked at before anything in them is inflated."""

from __future__ import annotations

import io
import zipfile

from fondaco.augment.parsing.faults import Unreadable

MAX_MEMBERS = 5_000
MAX_INFLATED = 256 * 1024 * 1024
MAX_MEMBER = 128 * 1024 * 1024


def open_archive(data: bytes) -> zipfile.ZipFile:
    """Raises zipfile.BadZipFile, and Unreadable for one that holds too much. What a member says of its size is what
    `zipfile` gives out of it at most."""
    archive = zipfile.ZipFile(io.BytesIO(data))
    members = archive.infolist()
    sizes = [member.file_size for member in members]
    if len(members) > MAX_MEMBERS or sum(sizes) > MAX_INFLATED or max(sizes, default=0) > MAX_MEMBER:
        raise Unreadable("too_much")
    if any(member.flag_bits & 1 for member in members):
        raise Unreadable("encrypted")
    return archive
