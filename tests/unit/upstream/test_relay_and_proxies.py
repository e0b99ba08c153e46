"""Targets behind a proxy go through aiohttp, which nobody else pays for."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fondaco.upstream.transport import ConnectFailed, Target
from fondaco.upstream.transports import open_transport
from scripted_engine import answering, engine

pytestmark = pytest.mark.anyio

HI = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


async def test_a_target_with_a_proxy_is_asked_for_through_it_and_another_directly() -> None:
    async with engine(answering(HI)) as proxy, engine(answering(HI)) as direct:
        transport = open_transport()
        targets = [
            Target("engine.invalid", 8000, base_path="/v1", proxy=f"http://127.0.0.1:{proxy.port}"),
            Target("127.0.0.1", direct.port, base_path="/v1"),
        ]
        for target in targets:
            exchange = await transport.send(target, "POST", "/x", b"{}")
            assert await exchange.read(9) == b"hi"
            await exchange.aclose()
        assert proxy.lines[0].requests[0].startswith(b"POST http://engine.invalid:8000/v1/x HTTP/1.1\r\n")
        assert direct.lines[0].requests[0].startswith(b"POST /v1/x HTTP/1.1\r\n")
        await transport.close()
        for target in targets:
            with pytest.raises(ConnectFailed):
                await transport.send(target, "POST", "/x", b"{}")


async def test_a_proxy_that_is_not_there_is_a_failed_connection() -> None:
    async with engine(answering(HI)) as gone:
        port = gone.port
    transport = open_transport()
    with pytest.raises(ConnectFailed):
        await transport.send(Target("127.0.0.1", port, proxy=f"http://127.0.0.1:{port}"), "GET", "/x")
    await transport.close()


def test_aiohttp_is_not_loaded_before_a_proxy_needs_it() -> None:
    script = (
        "import sys; from fondaco.upstream.transports import open_transport; "
        "open_transport(); sys.exit('aiohttp' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
