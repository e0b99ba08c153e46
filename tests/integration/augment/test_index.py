"""The operator's index: what is put into it, what is found in it, and what it keeps."""

from __future__ import annotations

import asyncio
import math
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

import papers
from fondaco.augment.documents import Documents
from fondaco.augment.index import gathering as gathering_module
from fondaco.augment.index import index as index_module
from fondaco.augment.index.gathering import Gathered, Gathering, NoSuchPlace
from fondaco.augment.index.index import Index
from fondaco.augment.index.passages import Passage
from fondaco.augment.index.store import FILE_NAME, Document, IndexBroken, IndexStore
from fondaco.augment.meaning import Embedder
from fondaco.augment.words import content_words
from fondaco.cli import app
from fondaco.net.fetching import Fetcher
from fondaco.net.guard import Guard
from odd_servers import answer, odd_server

pytestmark = pytest.mark.anyio

TIDES = "# Tides\n\nHigh water stands at the quay at noon.\n\n## Neap\n\nWhen the moon is half, the sea rises least."
BREAD = "# Bread\n\nKnead the dough for ten minutes, then let it rest until it has doubled."

# What an embedding model would know.
MEANINGS = [
    {"tide", "sea", "moon", "water", "ocean"},
    {"bread", "dough", "bake", "loaf", "baking"},
    {"quay", "harbour"},
]


class Meanings:
    """Vectors by hand: one direction for each thing that a text can be about."""

    def __init__(self, model: str = "by hand") -> None:
        self.model = model
        self.here = True
        self.asked = 0

    async def embed(self, texts: Sequence[str]) -> list[list[float]] | None:
        if not self.here:
            return None
        self.asked += len(texts)
        return [[float(len(about & set(content_words(text)))) + 0.01 for about in MEANINGS] for text in texts]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "hand book"
    (folder / "deep").mkdir(parents=True)
    (folder / "tides.md").write_text(TIDES)
    (folder / "deep" / "bread.txt").write_text(BREAD)
    (folder / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00")
    (folder / ".hidden.md").write_text("# Hidden")
    (folder / "link.md").symlink_to("tides.md")
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Iterator[IndexStore]:
    (tmp_path / "data").mkdir()
    store = IndexStore(tmp_path / "data")
    yield store
    store.close()


def gathering(store: IndexStore, documents: Documents, *allow: str) -> Gathering:
    return Gathering(store, documents, Fetcher(Guard(allow), max_bytes=1_000_000, seconds=5))


async def found(data_dir: Path, query: str, meanings: Embedder | None = None) -> list[str]:
    index = Index(data_dir, meanings)
    try:
        results = await index.search(query, 5)
        return [each.url for each in results or []]
    finally:
        await index.close()


async def filled(data_dir: Path, meanings: Meanings) -> None:
    """As a running server does it."""
    index = Index(data_dir, meanings)
    work = asyncio.create_task(index.keep_embedded())
    store = IndexStore(data_dir)
    async with asyncio.timeout(5):
        while any(each.embedded < each.passages for each in store.sources()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
    store.close()
    await index.close()


async def test_a_folder_is_taken_in_and_found_again(
    tmp_path: Path, folder: Path, store: IndexStore, documents: Documents
) -> None:
    told: dict[str, str] = {}
    done = await gathering(store, documents).add(str(folder), tell=told.__setitem__)
    assert done == Gathered(added=2, unchanged=0, left_out=1, gone=0)
    assert set(told) == {"tides.md", "deep/bread.txt", "picture.png"}
    (source,) = store.sources()
    assert (source.place, source.documents, source.embedded) == (str(folder), 2, 0)
    data = tmp_path / "data"
    assert await found(data, "when is high water at the quay?") == ["file:hand%20book/tides.md"]
    assert await found(data, "kneading DOUGH") == ["file:hand%20book/deep/bread.txt"]
    assert await found(data, "what do cars cost in Peru") == []
    index = Index(data)
    results = await index.search("moon half", 5)
    await index.close()
    assert results is not None
    assert (results[0].title, results[0].content) == ("Tides", "When the moon is half, the sea rises least.")


async def test_a_place_that_has_nothing_to_find_is_not_kept(
    folder: Path, store: IndexStore, documents: Documents
) -> None:
    done = await gathering(store, documents).add(str(folder / "picture.png"))
    assert done == Gathered(added=0, unchanged=0, left_out=1, gone=0)
    assert store.sources() == []
    await gathering(store, documents).add(str(folder / "deep"))
    (folder / "deep" / "bread.txt").unlink()
    assert (await gathering(store, documents).add(str(folder / "deep"))).gone == 1
    assert store.sources() == []


async def test_the_servers_own_folder_is_not_taken_in(store: IndexStore, documents: Documents) -> None:
    notes = store.data_dir / "notes.txt"
    notes.write_text("Of the server's own.")
    for place in (store.data_dir, notes):
        with pytest.raises(NoSuchPlace, match="own data directory"):
            await gathering(store, documents).add(str(place))
    assert store.sources() == []


async def test_given_again_a_folder_is_brought_up_to_date(
    tmp_path: Path, folder: Path, store: IndexStore, documents: Documents
) -> None:
    await gathering(store, documents).add(str(folder))
    (folder / "tides.md").write_text("# Tides\n\nLow water is at six.")
    (folder / "deep" / "bread.txt").unlink()
    (folder / "new.html").write_bytes(papers.page("Wind", "The wind blows from the south in spring."))
    done = await gathering(store, documents).add(str(folder))
    assert (done.added, done.unchanged, done.gone) == (2, 0, 1)
    data = tmp_path / "data"
    assert await found(data, "high water noon") == []
    assert await found(data, "dough") == []
    assert await found(data, "low water") == ["file:hand%20book/tides.md"]
    assert await found(data, "spring wind") == ["file:hand%20book/new.html"]
    assert (await gathering(store, documents).add(str(folder))).unchanged == 2


async def test_files_can_be_told_as_what_they_are_on_the_web(
    tmp_path: Path, folder: Path, store: IndexStore, documents: Documents
) -> None:
    await gathering(store, documents).add(str(folder))
    done = await gathering(store, documents).add(str(folder), "https://docs.test/book/")
    assert done.added == 2
    assert await found(tmp_path / "data", "dough") == ["https://docs.test/book/deep/bread.txt"]


async def test_pages_are_fetched_through_the_guard(
    tmp_path: Path, store: IndexStore, documents: Documents
) -> None:
    async with odd_server() as site:
        site.pages["/wind"] = answer(
            papers.page("Wind", "The wind blows from the south in spring."),
            headers={"content-type": "text/html"},
        )
        url = f"{site.url}/wind"
        with pytest.raises(NoSuchPlace, match="port"):
            await gathering(store, documents).add(url)
        assert site.connections == 0
        done = await gathering(store, documents, site.place).add(url)
        assert done.added == 1
        with pytest.raises(NoSuchPlace, match="404"):
            await gathering(store, documents, site.place).add(f"{site.url}/gone")
    assert await found(tmp_path / "data", "spring wind") == [url]


async def test_what_is_not_there_cannot_be_added(
    tmp_path: Path, store: IndexStore, documents: Documents
) -> None:
    with pytest.raises(NoSuchPlace):
        await gathering(store, documents).add(str(tmp_path / "nothing"))


async def test_removing_leaves_nothing_to_be_found(
    tmp_path: Path, folder: Path, store: IndexStore, documents: Documents
) -> None:
    await gathering(store, documents).add(str(folder))
    assert store.remove(str(folder))
    assert not store.remove(str(folder))
    assert store.sources() == []
    assert await found(tmp_path / "data", "dough") == []


async def test_what_is_removed_is_gone_from_the_disk(tmp_path: Path, store: IndexStore) -> None:
    for place in ("secret", "other"):
        source_id, _ = store.begin(place, None)
        for at in range(50):
            text = f"The {place}canary of number {at} sings. " * 5
            store.put(source_id, Document(f"{at}", f"file:{place}/{at}", place, "", b"", [Passage("", text)]))
    kept = [file.read_bytes() for file in (tmp_path / "data").iterdir()]
    assert any(b"secretcanari" in data for data in kept)  # as the word index has it
    store.remove("secret")
    kept = [file.read_bytes() for file in (tmp_path / "data").iterdir()]
    assert not any(b"secretcanar" in data for data in kept)
    assert any(b"othercanary" in data for data in kept)


async def test_what_cannot_be_read_is_left_out_and_the_rest_taken(
    tmp_path: Path, folder: Path, store: IndexStore, documents: Documents, monkeypatch: pytest.MonkeyPatch
) -> None:
    await gathering(store, documents).add(str(folder))
    (folder / os.fsdecode(b"bad\xff.txt")).write_text("no UTF-8")
    os.mkfifo(folder / "pipe")
    monkeypatch.setattr(gathering_module, "MAX_FILE_BYTES", len(BREAD))
    told: dict[str, str] = {}
    (folder / "gone.txt").symlink_to("nowhere")
    done = await gathering(store, documents).add(str(folder), tell=told.__setitem__)
    assert told["tides.md"] == "it is too large"
    assert told["bad\udcff.txt"] == "its name is not valid UTF-8"
    assert set(told) == {"bad\udcff.txt", "deep/bread.txt", "picture.png", "tides.md"}
    # What it was before is no longer what it is.
    assert done == Gathered(added=0, unchanged=1, left_out=3, gone=1)
    assert store.sources()[0].documents == 1


async def test_a_folder_that_cannot_be_looked_into_is_told(
    folder: Path, store: IndexStore, documents: Documents, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = Path.iterdir

    def refuse(path: Path) -> Iterator[Path]:
        if path.name == "deep":
            raise PermissionError
        return look(path)

    monkeypatch.setattr(Path, "iterdir", refuse)
    told: dict[str, str] = {}
    await gathering(store, documents).add(str(folder), tell=told.__setitem__)
    assert (told["deep"], told["tides.md"]) == ("it cannot be read", "added")


async def test_the_servers_own_folder_is_no_part_of_what_is_around_it(
    tmp_path: Path, folder: Path, store: IndexStore, documents: Documents
) -> None:
    (tmp_path / "data" / "log.txt").write_text("What the server keeps.")
    told: dict[str, str] = {}
    await gathering(store, documents).add(str(tmp_path), tell=told.__setitem__)
    assert not any(name.startswith("data/") for name in told)
    assert "hand book/tides.md" in told


async def test_meaning_finds_what_words_do_not(
    tmp_path: Path, folder: Path, store: IndexStore, documents: Documents
) -> None:
    await gathering(store, documents).add(str(folder))
    data, meanings = tmp_path / "data", Meanings()
    assert await found(data, "baking a loaf", meanings) == []
    await filled(data, meanings)
    assert await found(data, "baking a loaf") == []
    assert await found(data, "baking a loaf", meanings) == ["file:hand%20book/deep/bread.txt"]
    meanings.here = False
    assert await found(data, "high water", meanings) == ["file:hand%20book/tides.md"]


class Directions:
    """Vectors by hand, to the degree: whatever is asked stands at 0°."""

    model = "by hand"

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        return [[1.0, 0.0] for _ in texts]


def put_at(store: IndexStore, cosines: dict[str, float]) -> None:
    """Each text as a document of its own, so near to whatever is asked."""
    source_id, _ = store.begin("here", None)
    for text in cosines:
        store.put(source_id, Document(text, text, text, "", b"", [Passage("", text)]))
    at = {hit.text: hit.passage_id for hit in store.hits(range(1, len(cosines) + 1))}
    store.put_vectors(
        Directions.model,
        [(at[text], [cosine, math.sqrt(1 - cosine**2)]) for text, cosine in cosines.items()],
    )


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("closed quay feast days", "The quay is closed on feast days."),
        ("who minds the boats at the quay on feast days", "Moorings cost nothing by night."),
    ],
)
async def test_words_decide_where_a_passage_has_them_all_and_not_where_it_has_a_few(
    tmp_path: Path, store: IndexStore, query: str, first: str
) -> None:
    put_at(
        store,
        {
            "The quay is closed on feast days.": 0.55,
            "Moorings cost nothing by night.": 0.6,
            "Of ropes and knots.": 0.1,
        },
    )
    ordered = await found(tmp_path / "data", query, Directions())
    assert ordered[0] == first
    assert len(ordered) == 2  # and what is neither near nor has the words is none of it


async def test_a_rare_word_counts_for_more_than_a_common_one(tmp_path: Path, store: IndexStore) -> None:
    many = {f"The harbour has pier {number}.": 0.0 for number in range(20)}
    put_at(store, {**many, "Ask the harbour master.": 0.0, "The moorings here are new.": 0.0})
    assert await found(tmp_path / "data", "harbour moorings") == ["The moorings here are new."]
    assert await found(tmp_path / "data", "harbour moorings", Directions()) == ["The moorings here are new."]


async def test_another_model_sees_every_passage_anew(
    tmp_path: Path, folder: Path, store: IndexStore, documents: Documents
) -> None:
    await gathering(store, documents).add(str(folder))
    data, other = tmp_path / "data", Meanings("another")
    await filled(data, Meanings())
    assert await found(data, "baking a loaf", other) == []
    (source,) = store.sources()
    index = Index(data, other)
    work = asyncio.create_task(index.keep_embedded())
    async with asyncio.timeout(5):
        while other.asked < source.passages + 1:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        while not await index.search("baking a loaf", 5):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
    await index.close()


async def test_a_running_server_sees_what_the_command_line_adds(
    tmp_path: Path, folder: Path, documents: Documents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "LOOK_SECONDS", 0.02)
    data = tmp_path / "data"
    data.mkdir()
    index = Index(data, Meanings())
    work = asyncio.create_task(index.keep_embedded())
    assert await index.search("dough", 5) is None
    store = IndexStore(data)
    await gathering(store, documents).add(str(folder))
    async with asyncio.timeout(5):
        while not await index.search("baking a loaf", 5):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
    await index.close()
    store.close()


async def test_the_file_is_the_operators_alone_and_holds_no_query(
    tmp_path: Path, folder: Path, store: IndexStore, documents: Documents
) -> None:
    await gathering(store, documents).add(str(folder))
    data = tmp_path / "data"
    await filled(data, meanings := Meanings())
    await found(data, "canaryword dough", meanings)
    for file in data.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert b"canaryword" not in file.read_bytes()


async def test_a_broken_file_ends_no_search(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"not a database" * 1000)
    with pytest.raises(IndexBroken):
        IndexStore(tmp_path)
    index = Index(tmp_path, Meanings())
    assert await index.search("dough", 5) is None
    await index.close()


@pytest.mark.long
def test_the_command_line_adds_lists_and_removes(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = str(tmp_path / "data")
    run = CliRunner().invoke
    assert "empty" in run(app, ["index", "list", "--data-dir", data]).output
    added = run(app, ["index", "add", str(folder), "--data-dir", data])
    assert added.exit_code == 0, added.output
    assert "2 added, 0 unchanged, 1 left out" in added.output
    assert "picture.png: its format is not one that can be read here" in added.output
    listed = run(app, ["index", "list", "--data-dir", data]).output
    assert str(folder) in listed
    assert listed.splitlines()[1].split()[-3:] == ["2", "3", "0"]
    monkeypatch.chdir(folder.parent)
    assert run(app, ["index", "remove", "hand book", "--data-dir", data]).exit_code == 0
    gone = run(app, ["index", "remove", "hand book", "--data-dir", data])
    assert gone.exit_code == 1
    assert "is not in the index" in gone.output
    missing = run(app, ["index", "add", str(tmp_path / "nothing"), "--data-dir", data])
    assert missing.exit_code == 1
    assert "there is no such file or folder" in missing.output
    for words, said in (
        (["add", ""], "must not be empty"),
        (["remove", " "], "must not be empty"),
        (["add", str(folder), "--url", "docs.example.com"], "must begin with http"),
    ):
        refused = run(app, ["index", *words, "--data-dir", data])
        assert refused.exit_code == 2
        assert said in refused.output
    nothing = run(app, ["index", "add", str(folder / "picture.png"), "--data-dir", data])
    assert nothing.exit_code == 1
    assert "nothing of it could be taken in" in nothing.output
