"""The text of documents: every kind is read, whatever it is called, and no hostile one takes more than its share."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import signal
import time
import zipfile
import zlib
from pathlib import Path

import psutil
import pytest

import papers
from fondaco.augment.documents import Documents, Unparsable
from fondaco.augment.parsing.wire import Job, Limits
from odd_servers import odd_server
from parsing_limits import LIMITS

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024
FRENCH = (
    "D\u00e9j\u00e0 les gar\u00e7ons \u00e9taient \u00e0 la plage, o\u00f9 la mar\u00e9e avait laiss\u00e9 des coquillages; "
    "l\u2019\u00e9t\u00e9 s\u2019achevait, et la for\u00eat d\u2019\u00e0 c\u00f4t\u00e9 sentait bon."
)
RUSSIAN = "\u041f\u0440\u0438\u0432\u0435\u0442, \u043a\u0430\u043a \u0434\u0435\u043b\u0430 \u0441\u0435\u0433\u043e\u0434\u043d\u044f \u0432 \u0433\u043e\u0440\u043e\u0434\u0435 \u043d\u0430 \u0431\u0435\u0440\u0435\u0433\u0443 \u043c\u043e\u0440\u044f"


def job(name: str = "", **further: object) -> Job:
    return Job(**{"name": name, "max_characters": 100_000, **further})  # pyright: ignore[reportArgumentType]


async def fault_of(documents: Documents, data: bytes, name: str = "") -> str:
    with pytest.raises(Unparsable) as unparsable:
        await documents.parse(data, name)
    return unparsable.value.fault


# What is read.


@pytest.mark.long
async def test_a_page_gives_its_main_text_its_title_and_its_date(documents: Documents) -> None:
    head = "<meta property='article:published_time' content='2024-05-06T10:00:00Z'>"
    data = papers.page(
        "On tides", *(["The tide comes in twice a day, and the lagoon knows it well."] * 4), head=head
    )
    found = await documents.read(job(media_type="text/html", url="https://tides.test/a"), data)
    assert found.title == "On tides"
    assert found.date == "2024-05-06"
    assert "The tide comes in twice a day" in found.text
    assert "All rights reserved" not in found.text


async def test_a_page_without_a_main_text_gives_what_words_it_has(documents: Documents) -> None:
    assert "Only this." in await documents.parse(b"<html><body><div>Only this.</div></body></html>", "a.html")


async def test_a_word_document_keeps_headings_lists_and_tables(documents: Documents) -> None:
    data = papers.docx(
        papers.paragraph("Tides", "Heading1")
        + papers.paragraph("High water is at noon &amp; midnight.")
        + papers.word_table(("place", "height"), ("Chioggia", "1.2"))
    )
    found = await documents.read(job("a.docx"), data)
    assert found.text.startswith("# Tides\n\nHigh water is at noon & midnight.")
    assert "| Chioggia | 1.2 |" in found.text
    assert (found.title, found.date) == ("Lagoon & tides", "2024-03-05")


async def test_each_sheet_is_a_table(documents: Documents) -> None:
    data = papers.xlsx(
        {"Tides": [["place", "height"], ["Chioggia", 1.2], ["a|b", None]], "Empty": [], "Moon": [["full"]]}
    )
    text = await documents.parse(data, "a.xlsx")
    assert "## Tides\n\n| place | height |\n| --- | --- |\n| Chioggia | 1.2 |\n| a\\|b |  |" in text
    assert "## Moon" in text
    assert "Empty" not in text


async def test_slides_give_titles_text_tables_and_notes(documents: Documents) -> None:
    text = await documents.parse(
        papers.pptx("Tides", "Twice a day", "say it slowly", [["a", "b"], ["c", "d"]]), "a"
    )
    assert text.startswith("## Slide 1")
    for said in ("Tides", "Twice a day", "| c | d |", "Notes: say it slowly"):
        assert said in text


async def test_a_book_is_read_in_its_own_order(documents: Documents) -> None:
    data = papers.epub(
        {"b": "<h1>Second</h1>", "a": "<h1>First</h1><p>of all</p>", "c": "<p>unread</p>"}, ("a", "b")
    )
    found = await documents.read(job("x.epub"), data)
    assert found.text.index("# First") < found.text.index("of all") < found.text.index("# Second")
    assert "unread" not in found.text
    assert (found.title, found.date) == ("The lagoon", "2021-02-03")


async def test_a_pdf_gives_the_text_of_all_pages(documents: Documents) -> None:
    found = await documents.read(job("a.pdf"), papers.pdf("High water at noon", "Low water at six"))
    assert found.text == "High water at noon\n\nLow water at six"
    assert (found.title, found.date) == ("Tide tables", "2023-04-05")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"plain\r\ntext  \r\n\r\n\r\n\r\nhere", "plain\ntext\n\nhere"),
        ("gr\u00fc\u00df dich".encode(), "gr\u00fc\u00df dich"),
        ("\ufeffmarked".encode(), "marked"),
        ("sixteen".encode("utf-16"), "sixteen"),
        (FRENCH.encode("cp1252"), FRENCH),
        (RUSSIAN.encode("cp1251"), RUSSIAN),
        (b"def tide():\n    return 2\n", "def tide():\n    return 2"),
        (b'{"a": 1}', '{"a": 1}'),
        (b"\x1b[1mbold\x1b[0m", "[1mbold[0m"),
        (b"", ""),
    ],
)
async def test_text_is_taken_as_it_is(documents: Documents, data: bytes, text: str) -> None:
    assert (await documents.parse(data, "a.txt")).startswith(text)


async def test_what_it_is_decides_and_not_what_it_is_called(documents: Documents) -> None:
    assert await documents.parse(papers.pdf("words"), "a.docx") == "words"
    assert "words" in await documents.parse(papers.docx(papers.paragraph("words")), "a.pdf")


async def test_a_text_is_cut_where_it_was_asked_to_be(documents: Documents) -> None:
    found = await documents.read(job("a.txt", max_characters=10), b"word " * 100)
    assert (found.text, found.cut) == ("word word ", True)
    assert not (await documents.read(job("a.txt"), b"word")).cut


# What is not.


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"\x89PNG\r\n\x1a\n\x00\x00", "unsupported"),
        (b"\x7fELF\x02\x01\x01\x00", "unsupported"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "unsupported"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "EncryptedPackage".encode("utf-16-le"), "encrypted"),
        (papers.archive({"a.txt": "a"}), "unsupported"),
        (b"PK\x03\x04 and nothing", "damaged"),
        (b"%PDF-1.4\nnothing of it", "damaged"),
        (papers.archive({"word/document.xml": "<not xml"}), "damaged"),
        (papers.archive({"xl/workbook.xml": "x"}), "damaged"),
        (papers.archive({"ppt/presentation.xml": "x"}), "damaged"),
        (papers.archive({"META-INF/container.xml": "<a/>"}), "damaged"),
    ],
)
async def test_what_cannot_be_read_says_why(documents: Documents, data: bytes, fault: str) -> None:
    assert await fault_of(documents, data) == fault


# What would take too much.


@pytest.mark.long
async def test_a_zip_bomb_is_not_inflated(documents: Documents) -> None:
    bomb = papers.docx("", **{"word/media/a": bytes(140 * MIB)})
    assert len(bomb) < MIB
    await documents.parse(b"warm", "a.txt")
    begun = time.monotonic()
    assert await fault_of(documents, bomb, "a.docx") == "too_much"
    assert time.monotonic() - begun < 2


@pytest.mark.long
async def test_a_zip_that_lies_about_its_sizes_gives_no_more_than_it_says(documents: Documents) -> None:
    told = papers.docx(papers.paragraph("a" * 60_000_000))
    with zipfile.ZipFile(io.BytesIO(told)) as file:
        size = file.getinfo("word/document.xml").file_size
    lying = told.replace(size.to_bytes(4, "little"), (1000).to_bytes(4, "little"))
    assert lying != told
    assert await fault_of(documents, lying, "a.docx") == "damaged"


@pytest.mark.parametrize(
    "name",
    [
        "laughs",
        *(
            pytest.param(name, marks=pytest.mark.long)
            for name in ("many parts", "deep html", "deep xml", "pdf bomb", "wide sheet", "memory")
        ),
    ],
)
async def test_a_hostile_document_ends_within_its_limits(documents: Documents, name: str) -> None:
    data = HOSTILE[name]()
    begun = time.monotonic()
    with contextlib.suppress(Unparsable):
        assert len(await documents.parse(data, "a")) <= 2_000_000
    assert time.monotonic() - begun < LIMITS.seconds + 2
    # And the next document never notices.
    assert await documents.parse(b"still here", "a.txt") == "still here"


def _pdf_bomb() -> bytes:
    deflater = zlib.compressobj(9)
    zeros = bytes(4 * MIB)
    return papers.pdf("a", packed=b"".join(deflater.compress(zeros) for _ in range(75)) + deflater.flush())


def _laughs() -> bytes:
    entities = '<!ENTITY a "ha">' + "".join(
        f'<!ENTITY {chr(98 + at)} "{f"&{chr(97 + at)};" * 10}">' for at in range(12)
    )
    return papers.archive(
        {
            "word/document.xml": f"<!DOCTYPE x [{entities}]><x>&m;</x>",
            "META-INF/container.xml": f"<!DOCTYPE x [{entities}]><x>&m;</x>",
        }
    )


def _wide_sheet() -> bytes:
    """Two cells, as far from each other as can be."""
    far = '<row r="1048576"><c r="XFD1048576" t="inlineStr"><is><t>x</t></is></c></row>'
    space = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    with zipfile.ZipFile(io.BytesIO(papers.xlsx({"a": [["b"]]}))) as book:
        members = {name: book.read(name) for name in book.namelist()}
    members["xl/worksheets/sheet1.xml"] = (
        f'<worksheet xmlns="{space}"><dimension ref="A1:XFD1048576"/><sheetData><row r="1"><c r="A1"><v>1</v></c>'
        f"</row>{far}</sheetData></worksheet>"
    ).encode()
    return papers.archive(members)


HOSTILE = {
    "pdf bomb": _pdf_bomb,
    "deep html": lambda: b"<html>" + b"<div>" * 400_000 + b"x",
    "deep xml": lambda: papers.docx("<w:p>" * 50_000 + "</w:p>" * 50_000),
    "laughs": _laughs,
    "wide sheet": _wide_sheet,
    "many parts": lambda: papers.archive(
        {"word/document.xml": "x", **{f"a/{at}": "" for at in range(6_000)}}
    ),
    "memory": lambda: papers.docx(papers.paragraph("a " * 10_000_000)),
}


@pytest.mark.long
async def test_a_fork_that_is_killed_by_its_limits_says_too_much() -> None:
    documents = Documents(Limits(memory_bytes=200 * MIB, cpu_seconds=1, seconds=0.3))
    try:
        page = b"<html><body>" + b"<p>Words that go on and on.</p>" * 200_000
        assert await fault_of(documents, page, "a.html") == "too_much"
        assert await documents.parse(b"quick", "a.txt") == "quick"
    finally:
        await documents.close()


async def test_nobody_waits_for_a_document_whose_caller_has_left(documents: Documents) -> None:
    await documents.parse(b"warm", "a.txt")
    page = b"<html><body>" + b"<p>Words that go on and on.</p>" * 200_000
    asked = asyncio.create_task(documents.parse(page, "a.html"))
    parser = psutil.Process(_process(documents))
    async with asyncio.timeout(3):
        while not parser.children():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    asked.cancel()
    async with asyncio.timeout(1):
        while parser.children():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.mark.long
async def test_a_lost_process_is_replaced(documents: Documents) -> None:
    await documents.parse(b"warm", "a.txt")
    os.kill(_process(documents), signal.SIGKILL)
    assert await documents.parse(b"again", "a.txt") == "again"


async def test_many_at_once_are_told_apart(documents: Documents) -> None:
    texts = await asyncio.gather(*(documents.parse(f"number {at}".encode(), "a.txt") for at in range(30)))
    assert texts == [f"number {at}" for at in range(30)]


async def test_a_long_run_of_blanks_takes_no_longer_than_its_length(documents: Documents) -> None:
    text = f"a{' ' * 200_000}b{' ' * 200_000}"
    assert await documents.parse(text.encode(), "a.txt") == text.rstrip()


@pytest.mark.long
async def test_clients_that_leave_while_the_process_is_busy_hold_nobody_up() -> None:
    documents = Documents(LIMITS)
    await documents.parse(b"warm", "a.txt")
    process, slowest = _process(documents), 0.0
    os.kill(process, signal.SIGSTOP)
    for _ in range(600):
        asked = asyncio.create_task(documents.parse(b"x", "a.txt"))
        await asyncio.sleep(0)
        begun = time.monotonic()
        await asyncio.sleep(0.001)
        slowest = max(slowest, time.monotonic() - begun)
        asked.cancel()
        await asyncio.wait([asked])
    waiting = asyncio.create_task(documents.parse(b"here", "a.txt"))
    await asyncio.sleep(0.2)
    os.kill(process, signal.SIGCONT)
    assert await waiting == "here"
    assert slowest < 1
    await documents.close()


@pytest.mark.long
async def test_closing_ends_the_process_and_its_forks() -> None:
    documents = Documents(LIMITS)
    await documents.parse(b"warm", "a.txt")
    process = _process(documents)
    await documents.close()
    assert not psutil.pid_exists(process)


# What a document can make its reader do.


async def test_a_document_cannot_make_its_reader_call_home(documents: Documents) -> None:
    async with odd_server() as outside:
        url = outside.url
        xml = f'<!DOCTYPE x SYSTEM "{url}/dtd" [<!ENTITY e SYSTEM "{url}/e">]>'
        for data in (
            papers.page(
                "a", f"<img src='{url}/i'><script src='{url}/s'></script>", head=f"<base href='{url}/'>"
            ),
            papers.archive({"word/document.xml": f"{xml}<x>&e;</x>"}),
            papers.archive({"META-INF/container.xml": f"{xml}<x>&e;</x>"}),
            f'{xml}<html xmlns:xi="http://www.w3.org/2001/XInclude"><xi:include href="{url}/x"/></html>'.encode(),
        ):
            try:
                await documents.parse(data, "a.html")
            except Unparsable:
                continue
        assert outside.connections == 0


@pytest.mark.skipif(not Path("/proc/self/net").exists(), reason="needs Linux")
async def test_readers_have_no_network_where_the_system_can_take_it_from_them(documents: Documents) -> None:
    await documents.parse(b"warm", "a.txt")
    if not _may_have_namespaces():
        pytest.skip("this system gives users no namespaces")
    assert os.stat(f"/proc/{_process(documents)}/ns/net").st_ino != os.stat("/proc/self/ns/net").st_ino  # noqa: PTH116


def _may_have_namespaces() -> bool:
    process = os.fork()
    if not process:
        import ctypes

        os._exit(0 if ctypes.CDLL(None).unshare(0x10000000 | 0x40000000) == 0 else 1)
    return os.waitpid(process, 0)[1] == 0


def _process(documents: Documents) -> int:
    process = documents._process  # pyright: ignore[reportPrivateUsage]
    assert process is not None
    return process.pid
