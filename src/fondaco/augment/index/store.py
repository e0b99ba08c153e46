"""The index's own SQLite file, `index.db` in the data directory. Blocking: call it in a thread, one at a time."""

from __future__ import annotations

import sqlite3
import time
from array import array
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import msgspec

from fondaco.augment.index.passages import Passage
from fondaco.augment.meaning import Vector, code
from fondaco.store.errors import StoreError
from fondaco.store.folder import prepare_database

FILE_NAME = "index.db"
VERSION = 1
BUSY_SECONDS = 10.0

_PRAGMAS = (
    "temp_store=MEMORY",
    "foreign_keys=ON",
    "journal_mode=WAL",
    "synchronous=NORMAL",
    "secure_delete=ON",
)


class IndexBroken(Exception):
    """The file cannot be read or written, or is of another version. The text says which."""


class Source(NamedTuple):
    place: str
    documents: int
    passages: int
    embedded: int
    """Of the passages, those that have a vector."""


class Document(msgspec.Struct, frozen=True):
    name: str
    url: str
    title: str
    date: str
    sha256: bytes
    passages: Sequence[Passage]


class Hit(NamedTuple):
    """A passage and its document."""

    passage_id: int
    url: str
    title: str
    date: str
    heading: str
    text: str


class IndexStore:
    """An open file. Raises IndexBroken wherever SQLite fails."""

    def __init__(self, data_dir: Path) -> None:
        """The file is made if it is not there."""
        path = data_dir / FILE_NAME
        self.data_dir = data_dir
        with _faults():
            prepare_database(path)
            self._db = sqlite3.connect(
                path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
        try:
            for pragma in _PRAGMAS:
                with _faults():
                    self._db.execute(f"PRAGMA {pragma}")
            self._make()
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        self._db.close()

    # What the operator has given.

    def sources(self) -> list[Source]:
        with _faults():
            rows = self._db.execute(
                "SELECT place, count(DISTINCT documents.id), count(passages.id), count(vectors.passage_id)"
                " FROM sources LEFT JOIN documents ON source_id = sources.id"
                " LEFT JOIN passages ON document_id = documents.id LEFT JOIN vectors ON passage_id = passages.id"
                " GROUP BY sources.id ORDER BY place"
            )
            return [Source(*row) for row in rows]

    def begin(self, place: str, base_url: str | None) -> tuple[int, dict[str, bytes]]:
        """The source's id, made if it is new; and the hashes of the documents that it has, by name.

        With another `base_url` than before it has none: all are told anew.
        """
        with self._transaction():
            known = self._db.execute("SELECT id, base_url FROM sources WHERE place = ?", (place,)).fetchone()
            if known is None:
                made = self._db.execute(
                    "INSERT INTO sources (place, base_url, added) VALUES (?, ?, ?)",
                    (place, base_url, int(time.time())),
                )
                return int(made.lastrowid or 0), {}
            source_id, before = known
            if before != base_url:
                self._db.execute("UPDATE sources SET base_url = ? WHERE id = ?", (base_url, source_id))
                self._db.execute("DELETE FROM documents WHERE source_id = ?", (source_id,))
            hashes = self._db.execute("SELECT name, sha256 FROM documents WHERE source_id = ?", (source_id,))
            return source_id, dict(hashes.fetchall())

    def put(self, source_id: int, document: Document) -> None:
        """In the place of one of that name."""
        with self._transaction():
            self._drop(source_id, document.name)
            made = self._db.execute(
                "INSERT INTO documents (source_id, name, url, title, date, sha256) VALUES (?, ?, ?, ?, ?, ?)",
                (source_id, document.name, document.url, document.title, document.date, document.sha256),
            )
            self._db.executemany(
                "INSERT INTO passages (document_id, heading, text) VALUES (?, ?, ?)",
                [(made.lastrowid, passage.heading, passage.text) for passage in document.passages],
            )

    def drop(self, source_id: int, name: str) -> None:
        with self._transaction():
            self._drop(source_id, name)

    def remove(self, place: str) -> bool:
        """A source with all its documents, of which nothing stays in the file. False if there is none of that name."""
        with self._transaction():
            self._db.execute(
                "DELETE FROM documents WHERE source_id IN (SELECT id FROM sources WHERE place = ?)", (place,)
            )
            removed = self._db.execute("DELETE FROM sources WHERE place = ?", (place,)).rowcount > 0
            # Until its parts are merged the word index keeps the words of what is gone.
            self._db.execute("INSERT INTO words (words) VALUES ('optimize')")
        with _faults():
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return removed

    # What is searched.

    def revision(self) -> int:
        """Another number whenever another process has written."""
        with _faults():
            return int(self._db.execute("PRAGMA data_version").fetchone()[0])

    def count(self) -> int:
        """Of all passages."""
        with _faults():
            return int(self._db.execute("SELECT count(*) FROM passages").fetchone()[0])

    def holders(self, words: Sequence[str]) -> dict[str, list[int]]:
        """Of each word, the passages that have it in one of its forms."""
        with _faults():
            return {
                word: [
                    row[0]
                    for row in self._db.execute(
                        "SELECT rowid FROM words WHERE words MATCH ?", (_quoted(word),)
                    )
                ]
                for word in words
            }

    def by_words(self, words: Sequence[str], most: int) -> list[int]:
        """Passages with any of the words, best first, as BM25 has it."""
        if not words:
            return []
        asked = " OR ".join(map(_quoted, words))
        with _faults():
            rows = self._db.execute(
                "SELECT rowid FROM words WHERE words MATCH ? ORDER BY bm25(words, 2.0, 1.0) LIMIT ?",
                (asked, most),
            )
            return [row[0] for row in rows]

    def codes(self, model: str) -> tuple[list[int], list[int]]:
        """Ids of all passages with a vector of this model, and the signs of these."""
        with _faults():
            rows = self._db.execute(
                "SELECT passage_id, code FROM vectors WHERE model = ?", (model,)
            ).fetchall()
        return [row[0] for row in rows], [int.from_bytes(row[1], "big") for row in rows]

    def vectors(self, passage_ids: Sequence[int], model: str) -> dict[int, array[float]]:
        marks = ",".join("?" * len(passage_ids))
        with _faults():
            rows = self._db.execute(
                f"SELECT passage_id, vector FROM vectors WHERE model = ? AND passage_id IN ({marks})",
                (model, *passage_ids),
            )
            return {row[0]: array("f", row[1]) for row in rows}

    def hits(self, passage_ids: Sequence[int]) -> list[Hit]:
        """In the order asked for; those that are gone are left out."""
        marks = ",".join("?" * len(passage_ids))
        with _faults():
            rows = self._db.execute(
                "SELECT passages.id, url, title, date, heading, text FROM passages"
                f" JOIN documents ON documents.id = document_id WHERE passages.id IN ({marks})",
                tuple(passage_ids),
            )
            found = {row[0]: Hit(*row) for row in rows}
        return [found[each] for each in passage_ids if each in found]

    def without_vector(self, model: str, most: int) -> list[tuple[int, str]]:
        """Passages that this model has not seen yet, each with what it is to see."""
        with _faults():
            rows = self._db.execute(
                "SELECT passages.id, title, heading, text FROM passages"
                " JOIN documents ON documents.id = document_id"
                " LEFT JOIN vectors ON passage_id = passages.id AND model = ?"
                " WHERE passage_id IS NULL ORDER BY passages.id LIMIT ?",
                (model, most),
            )
            return [(row[0], embedded_text(row[1], row[2], row[3])) for row in rows]

    def put_vectors(self, model: str, vectors: Sequence[tuple[int, Vector]]) -> None:
        """Of length 1. Passages that are gone meanwhile are left out."""
        with self._transaction():
            for passage_id, vector in vectors:
                size = (len(vector) + 7) // 8
                self._db.execute(
                    "INSERT OR REPLACE INTO vectors (passage_id, model, code, vector)"
                    " SELECT id, ?, ?, ? FROM passages WHERE id = ?",
                    (model, code(vector).to_bytes(size, "big"), array("f", vector).tobytes(), passage_id),
                )

    def _drop(self, source_id: int, name: str) -> None:
        self._db.execute("DELETE FROM documents WHERE source_id = ? AND name = ?", (source_id, name))

    def _make(self) -> None:
        with self._transaction():
            version = int(self._db.execute("PRAGMA user_version").fetchone()[0])
            if version == 0:
                statements = (
                    resources.files("fondaco.augment.index").joinpath("schema.sql").read_text("utf-8")
                )
                statement = ""
                for line in statements.splitlines(keepends=True):
                    statement += line
                    if sqlite3.complete_statement(statement):
                        self._db.execute(statement)
                        statement = ""
                self._db.execute(f"PRAGMA user_version = {VERSION}")
            elif version != VERSION:
                raise IndexBroken(f"{FILE_NAME} was made by another version of this program")

    @contextmanager
    def _transaction(self) -> Generator[None]:
        with _faults():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                self._db.execute("ROLLBACK")
                raise


def embedded_text(title: str, heading: str, text: str) -> str:
    """What a vector is made of: a passage alone often does not say what it is about."""
    above = " › ".join(part for part in (title, heading) if part)
    return f"{above}\n{text}" if above else text


def _quoted(word: str) -> str:
    """As the word index reads words that are none of its operators."""
    return '"' + word.replace('"', '""') + '"'


@contextmanager
def _faults() -> Generator[None]:
    try:
        yield
    except (sqlite3.Error, StoreError, OSError) as error:
        raise IndexBroken(f"{FILE_NAME} cannot be used ({type(error).__name__})") from None
