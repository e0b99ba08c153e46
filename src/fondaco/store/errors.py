"""What can be wrong with the database itself, each in one sentence that a person can act on.

    StoreError
    ├── DatabaseAbsent    no file there, and the caller did not want one made
    ├── DatabaseLocked    another program has held it for longer than we wait
    ├── DatabaseDamaged   not a database, or a broken one
    ├── DatabaseNewer     written by a later version of the program
    ├── DatabaseFull      no space left
    ├── DatabaseReadOnly  the file or its directory cannot be written or opened
    ├── DatabaseFailed    the disk under it gave an error
    └── DatabaseClosed    used before `open` or after `close`

The sentences name the file and nothing of what is in it.
"""

from __future__ import annotations

from pathlib import Path


class StoreError(Exception):
    """The database cannot do what was asked; `str()` is a sentence for people."""


class DatabaseAbsent(StoreError):
    def __init__(self, path: Path) -> None:
        super().__init__(f"There is no database at {path}: run `fondaco serve` once, or name its --data-dir.")


class DatabaseLocked(StoreError):
    def __init__(self, path: Path) -> None:
        super().__init__(
            f"The database {path} is locked by another program; try again when that one is done."
        )


class DatabaseDamaged(StoreError):
    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} is damaged, or no database of Fondaco: restore it from a backup or move it away."
        )


class DatabaseNewer(StoreError):
    def __init__(self, path: Path, found: str, known: str) -> None:
        super().__init__(
            f"The database {path} was written by a newer Fondaco (schema {found}, this one knows {known}): "
            "upgrade Fondaco."
        )


class DatabaseFull(StoreError):
    def __init__(self, path: Path) -> None:
        super().__init__(f"There is no space left for the database {path}; nothing of this write was kept.")


class DatabaseReadOnly(StoreError):
    def __init__(self, path: Path) -> None:
        super().__init__(
            f"The database {path} cannot be opened for writing: check the owner of its directory."
        )


class DatabaseFailed(StoreError):
    def __init__(self, path: Path) -> None:
        super().__init__(f"The disk under the database {path} gave an error.")


class DatabaseClosed(StoreError):
    def __init__(self) -> None:
        super().__init__("The database is not open.")
