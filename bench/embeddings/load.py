"""So many clients, each with one short text at a time, on connections kept alive.

As a program: URL KEY CLIENTS SECONDS; prints the rate and the times of answers as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from urllib.parse import urlsplit

import uvloop


async def client(url: str, key: str, texts: list[str], end: float, took: list[float]) -> None:
    """Asks for one text after the other until `end`; any answer but 200 ends the program."""
    at = urlsplit(url)
    reader, writer = await asyncio.open_connection(at.hostname, at.port)
    turn = 0
    while (began := time.perf_counter()) < end:
        asked = {"model": "all-minilm-l6-v2", "input": texts[turn % len(texts)], "encoding_format": "base64"}
        body = json.dumps(asked).encode()
        turn += 1
        head = f"POST {at.path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {key}\r\n"
        head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        answered = (await reader.readuntil(b"\r\n\r\n")).lower()
        if not answered.startswith(b"http/1.1 200"):
            sys.exit(answered.decode())
        size = int(answered.split(b"content-length: ")[1].split(b"\r\n")[0])
        vector = await reader.readexactly(size)
        if b'"embedding":"' not in vector:
            sys.exit("an answer without a vector")
        took.append(time.perf_counter() - began)
    writer.close()


async def main() -> None:
    from bench.embeddings.texts import QUERIES

    url, key, clients, seconds = sys.argv[1:]
    began = time.perf_counter()
    took: list[float] = []
    shifted = [QUERIES[n % len(QUERIES) :] + QUERIES[: n % len(QUERIES)] for n in range(int(clients))]
    await asyncio.gather(*(client(url, key, texts, began + float(seconds), took) for texts in shifted))
    rate = len(took) / (time.perf_counter() - began)
    took.sort()
    told = {"p50_ms": 1000 * took[len(took) // 2], "p99_ms": 1000 * took[int(len(took) * 0.99)]}
    print(json.dumps({"rate": rate, **told}))


if __name__ == "__main__":
    uvloop.run(main())
