"""The guarded fetcher against real sockets: where it connects, where it never does, and where it stops."""

from __future__ import annotations

import asyncio
import gzip
import socket
import time
import tracemalloc
import zlib
from collections.abc import AsyncGenerator, Sequence

import pytest

from fondaco.net.errors import (
    BadAnswer,
    FetchError,
    Refused,
    TooLarge,
    TooManyRedirects,
    TooSlow,
    Unreachable,
)
from fondaco.net.fetching import Fetcher
from fondaco.net.guard import Guard
from odd_servers import OddServer, answer, odd_server, redirect

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024
LIMIT = 4 * MIB
PUBLIC = "93.184.216.34"


@pytest.fixture
async def server() -> AsyncGenerator[OddServer]:
    async with odd_server() as server:
        yield server


class Names:
    """A name server: each look-up of a host gives its next answer, the last one again and again."""

    def __init__(self, **answers: Sequence[Sequence[str]]) -> None:
        self._answers = {host: list(given) for host, given in answers.items()}
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        given = self._answers.get(host.partition(".")[0])
        if given is None:
            raise socket.gaierror(socket.EAI_NONAME, "no such host")
        return given.pop(0) if len(given) > 1 else given[0]


def fetcher(server: OddServer, *allow: str, seconds: float = 10, names: Names | None = None) -> Fetcher:
    """One for which the server's port is as good as 80, so that only the address can be the reason to refuse."""
    guard = Guard(allow, (80, 443, server.port), resolve=names)
    return Fetcher(guard, max_bytes=LIMIT, seconds=seconds)


def open_to(server: OddServer, **options: float) -> Fetcher:
    return fetcher(server, server.place, **options)  # pyright: ignore[reportArgumentType]


# Where it never connects.

LOOPBACK_SPELLINGS = [
    "127.0.0.1",
    "127.0.0.2",
    "127.1",
    "127.0.1",
    "2130706433",
    "017700000001",
    "0177.0.0.1",
    "0177.0000.0000.0001",
    "0x7f000001",
    "0x7f.0.0.1",
    "0x7f.0x0.0x0.0x1",
    "0X7F.1",
    "127.000.000.001",
    "127.0.0.1.",
    "127.0.0.0x1",
    "4294967295",
    "0",
    "0.0.0.0",
    "00.0.0.0",
    "１２７.0.0.1",
    "127。0。0。1",
    "127．0．0．1",
    "127｡0｡0｡1",
    "①②⑦.⓪.⓪.①",
    "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "a.localhost",
    "localhost.localdomain",
    "127.0.0.1%2e",
    "127%2e0%2e0%2e1",
    "%31%32%37.0.0.1",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[0000::0001]",
    "[::]",
    "[::127.0.0.1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[0:0:0:0:0:ffff:127.0.0.1]",
    "[::ffff:0:127.0.0.1]",
    "[64:ff9b::127.0.0.1]",
    "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::]",
    "[2001:0:7f00:1::]",
    "[fe80::1]",
    "[fe80::1%25lo]",
    "[::1%25lo]",
    "[fc00::1]",
    "[fd00:ec2::254]",
    "[fec0::1]",
    "[ff02::1]",
    "[2606:4700::5efe:7f00:1]",
    "169.254.169.254",
    "169.254.43518",
    "0xa9fea9fe",
    "2852039166",
    "168.63.129.16",
    "100.100.100.200",
    "192.0.0.192",
    "metadata.google.internal",
    "metadata",
    "10.0.0.1",
    "10.1",
    "172.16.0.1",
    "192.168.0.1",
    "192.168.257",
    "100.64.0.1",
    "198.18.0.1",
    "203.0.113.1",
    "192.0.2.1",
    "224.0.0.1",
    "255.255.255.255",
    "240.0.0.1",
    "user@127.0.0.1",
    "user:pass@127.0.0.1",
    "93.184.216.34@127.0.0.1",
    "93.184.216.34\\@127.0.0.1",
    "127.0.0.1\\.public.test",
    "printer.local",
    "router.lan",
    "intranet",
]

RESOLVED = {
    "loopback": ["127.0.0.1"],
    "six": ["::1"],
    "mapped": ["::ffff:127.0.0.1"],
    "metadata-address": ["169.254.169.254"],
    "private": ["10.0.0.1"],
    "mixed": [PUBLIC, "127.0.0.1"],
    "mixed-six": [PUBLIC, "::1"],
    "nat64": ["64:ff9b::7f00:1"],
    "scoped": ["fe80::1%lo"],
    "nothing": [],
    "nonsense": ["localhost"],
}


def test_there_are_enough_hostile_targets() -> None:
    assert len(set(LOOPBACK_SPELLINGS)) + len(RESOLVED) >= 90


async def test_no_hostile_target_is_ever_connected_to(server: OddServer) -> None:
    names = Names(**{name: [given] for name, given in RESOLVED.items()})
    fetch = fetcher(server, names=names).fetch
    async with odd_server("::1") as six:
        hosts = [*LOOPBACK_SPELLINGS, *(f"{name}.public.test" for name in RESOLVED)]
        for host in hosts:
            for port in (server.port, six.port):
                with pytest.raises((Refused, Unreachable)):
                    await fetch(f"http://{host}:{port}/")
        assert (server.connections, six.connections) == (0, 0)
    # The same server is there for whoever may go to it.
    server.pages["/"] = answer(b"here")
    assert (await open_to(server).fetch(f"{server.url}/")).body == b"here"


async def test_no_redirect_leads_to_a_hostile_target(server: OddServer) -> None:
    names = Names(**{name: [given] for name, given in RESOLVED.items()})
    hosts = [*LOOPBACK_SPELLINGS, *(f"{name}.public.test" for name in RESOLVED)]
    async with odd_server() as inside:
        fetch = Fetcher(
            Guard([server.place], (80, 443, inside.port), resolve=names), max_bytes=LIMIT, seconds=10
        ).fetch
        for at, host in enumerate(hosts):
            server.pages["/go"] = redirect(f"http://{host}:{inside.port}/", (301, 302, 303, 307, 308)[at % 5])
            with pytest.raises(FetchError):
                await fetch(f"{server.url}/go")
        for to in (
            f"//127.0.0.1:{inside.port}/",
            f"\\\\127.0.0.1:{inside.port}",
            "file:///etc/passwd",
            "gopher://x/",
        ):
            server.pages["/go"] = redirect(to)
            with pytest.raises(FetchError):
                await fetch(f"{server.url}/go")
        assert inside.connections == 0
    assert server.connections == len(hosts) + 4


async def test_a_name_that_flips_after_it_was_checked_is_not_looked_up_again(server: OddServer) -> None:
    names = Names(flip=[[PUBLIC], ["127.0.0.1"]])
    with pytest.raises(FetchError):
        await fetcher(server, names=names, seconds=0.3).fetch(f"http://flip.public.test:{server.port}/")
    assert names.asked == ["flip.public.test"]
    assert server.connections == 0


async def test_each_hop_of_a_redirect_is_looked_up_and_checked_anew(server: OddServer) -> None:
    names = Names(hop=[["127.0.0.1"]], flip=[["127.0.0.1"], ["127.0.0.1"]])
    server.pages["/"] = redirect(f"http://flip.public.test:{server.port}/second")
    allowed = Fetcher(
        Guard([f"hop.public.test:{server.port}"], (80, server.port), resolve=names),
        max_bytes=LIMIT,
        seconds=5,
    )
    with pytest.raises(Refused):
        await allowed.fetch(f"http://hop.public.test:{server.port}/")
    assert names.asked == ["hop.public.test", "flip.public.test"]
    assert server.connections == 1


async def test_this_machines_own_public_address_is_refused(server: OddServer) -> None:
    guard = Guard((), (server.port,), own=lambda: [PUBLIC, "fe80::1%eth0"])
    with pytest.raises(Refused) as refused:
        await Fetcher(guard, max_bytes=LIMIT, seconds=5).fetch(f"http://{PUBLIC}:{server.port}/")
    assert refused.value.reason == "private_address"


async def test_allowing_a_host_opens_no_other_name_for_its_address(server: OddServer) -> None:
    names = Names(search=[["127.0.0.1"]], evil=[["127.0.0.1"]])
    server.pages["/"] = answer(b"here")
    fetch = fetcher(server, f"search.test:{server.port}", names=names).fetch
    assert (await fetch(f"http://search.test:{server.port}/")).body == b"here"
    with pytest.raises(Refused):
        await fetch(f"http://evil.test:{server.port}/")
    assert server.connections == 1


# What it sends and takes.


async def test_a_page_comes_with_its_type_and_where_it_was_in_the_end(server: OddServer) -> None:
    server.pages["/a"] = redirect("b?c=1#d")
    server.pages["/b?c=1"] = answer(b"hello", headers={"content-type": "Text/HTML; Charset=ISO-8859-1"})
    found = await open_to(server).fetch(f"{server.url}/a")
    assert (found.url, found.content_type, found.charset, found.body) == (
        f"{server.url}/b?c=1",
        "text/html",
        "iso-8859-1",
        b"hello",
    )


async def test_it_brings_no_cookies_no_credentials_and_no_referrer(
    server: OddServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    server.pages["/a"] = answer(status=302, headers={"location": "/b", "set-cookie": "a=b"})
    server.pages["/b"] = answer(b"hello")
    await open_to(server).fetch(f"{server.url}/a")
    for head in server.heads:
        names = {line.partition(b":")[0].lower() for line in head.split(b"\r\n")[1:] if line}
        assert names <= {b"host", b"accept", b"accept-encoding", b"user-agent", b"connection"}
    assert len(server.heads) == 2


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "deflate", "raw deflate", "members", "identity"])
async def test_bodies_are_decoded(server: OddServer, encoding: str) -> None:
    body = b"all the same " * 30_000
    deflater = zlib.compressobj(wbits=-15)
    sent = {
        "gzip": gzip.compress(body),
        "x-gzip": gzip.compress(body),
        "deflate": zlib.compress(body),
        "raw deflate": deflater.compress(body) + deflater.flush(),
        "members": gzip.compress(body[:1000]) + gzip.compress(body[1000:]),
        "identity": body,
    }[encoding]
    name = {"raw deflate": "deflate", "members": "gzip"}.get(encoding, encoding)
    server.pages["/"] = answer(sent, headers={"content-encoding": name})
    assert (await open_to(server).fetch(f"{server.url}/")).body == body


@pytest.mark.parametrize(
    ("page", "error"),
    [
        (answer(b"no", status=404), BadAnswer),
        (answer(b"no", status=500), BadAnswer),
        (answer(status=302), BadAnswer),
        (answer(b"not gzip", headers={"content-encoding": "gzip"}), BadAnswer),
        (answer(gzip.compress(b"a" * 9999)[:40], headers={"content-encoding": "gzip"}), BadAnswer),
        (answer(b"x", headers={"content-encoding": "br"}), BadAnswer),
        (answer(b"x", headers={"content-encoding": "zstd"}), BadAnswer),
        (answer(b"x", headers={"content-encoding": "gzip, gzip"}), BadAnswer),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort", Unreachable),
        (b"nonsense\r\n\r\n", Unreachable),
        (b"HTTP/1.1 200 OK\r\nx: " + b"a" * 20_000 + b"\r\n\r\n", Unreachable),
        (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 5_000 + b"\r\n", Unreachable),
        (b"", Unreachable),
        (redirect("http://[::1"), Refused),
        (redirect("/a b"), Refused),
    ],
)
async def test_an_answer_that_is_no_good_says_so_by_its_kind(
    server: OddServer, page: bytes, error: type[FetchError]
) -> None:
    server.pages["/"] = page or _hang_up
    with pytest.raises(error):
        await open_to(server).fetch(f"{server.url}/")


async def _hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def test_redirects_end(server: OddServer) -> None:
    server.pages["/"] = redirect("/")
    with pytest.raises(TooManyRedirects):
        await open_to(server).fetch(f"{server.url}/")
    assert server.connections == 6
    with pytest.raises(TooManyRedirects):
        await open_to(server).fetch(f"{server.url}/", redirects=0)
    assert server.connections == 7


# Where it stops.


def _bomb(wbits: int) -> bytes:
    """A hundred mebibytes of nothing, in a tenth of one."""
    deflater = zlib.compressobj(9, wbits=wbits)
    zeros = bytes(4 * MIB)
    return b"".join(deflater.compress(zeros) for _ in range(25)) + deflater.flush()


@pytest.mark.parametrize(
    ("encoding", "wbits"),
    [
        ("gzip", 31),
        pytest.param("deflate", 15, marks=pytest.mark.long),
        pytest.param("deflate", -15, marks=pytest.mark.long),
    ],
)
async def test_a_bomb_stops_at_the_bound(server: OddServer, encoding: str, wbits: int) -> None:
    server.pages["/"] = answer(_bomb(wbits), headers={"content-encoding": encoding})
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            await open_to(server).fetch(f"{server.url}/")
        assert tracemalloc.get_traced_memory()[1] <= 4 * LIMIT
    finally:
        tracemalloc.stop()


async def test_much_work_for_no_bytes_leaves_others_their_turns(server: OddServer) -> None:
    members = 20_000
    server.pages["/"] = answer(gzip.compress(b"") * members, headers={"content-encoding": "gzip"})
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    assert (await open_to(server).fetch(f"{server.url}/")).body == b""
    task.cancel()
    assert turns > members / 20


async def test_what_stands_behind_a_gzip_body_is_passed_over(server: OddServer) -> None:
    server.pages["/"] = answer(
        gzip.compress(b"here") + b"\0" + b"\x1f" * 9_000, headers={"content-encoding": "gzip"}
    )
    assert (await open_to(server).fetch(f"{server.url}/")).body == b"here"


@pytest.mark.parametrize("chunked", [True, False])
async def test_an_endless_body_stops_at_the_bound(server: OddServer, chunked: bool) -> None:
    sent = 0

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(
            b"HTTP/1.1 200 OK\r\n" + (b"transfer-encoding: chunked\r\n" if chunked else b"") + b"\r\n"
        )
        data = bytes(65536)
        while True:
            writer.write(b"10000\r\n" + data + b"\r\n" if chunked else data)
            await writer.drain()
            sent += len(data)

    server.pages["/"] = endless
    with pytest.raises(TooLarge):
        await open_to(server).fetch(f"{server.url}/")
    assert sent <= LIMIT + 8 * MIB  # what sockets hold


async def test_a_body_that_says_it_is_too_large_is_not_waited_for(server: OddServer) -> None:
    server.pages["/"] = b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n"
    with pytest.raises(TooLarge):
        await open_to(server).fetch(f"{server.url}/")
    server.pages["/"] = answer(b"a" * 100)
    with pytest.raises(TooLarge):
        await open_to(server).fetch(f"{server.url}/", max_bytes=99)


@pytest.mark.parametrize("stage", ["head", "body"])
async def test_a_slow_drip_stops_when_its_time_is_over(server: OddServer, stage: str) -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n" + (b"" if stage == "head" else b"content-length: 9999\r\n\r\n"))
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.02)

    server.pages["/"] = drip
    begun = time.monotonic()
    with pytest.raises(TooSlow):
        await open_to(server, seconds=0.4).fetch(f"{server.url}/")
    assert time.monotonic() - begun < 2


async def test_redirects_and_looking_up_share_one_time(server: OddServer) -> None:
    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.15)
        writer.write(redirect("/"))

    server.pages["/"] = slow
    with pytest.raises(TooSlow):
        await open_to(server, seconds=0.4).fetch(f"{server.url}/")

    async def never(host: str, port: int) -> Sequence[str]:
        await asyncio.sleep(60)
        return []

    with pytest.raises(TooSlow):
        await Fetcher(Guard(resolve=never), max_bytes=LIMIT, seconds=0.2).fetch("http://slow.public.test/")
