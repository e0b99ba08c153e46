"""One parsing process for all tests here: to start one takes seconds."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from fondaco.augment.documents import Documents
from parsing_limits import LIMITS


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
async def documents() -> AsyncGenerator[Documents]:
    documents = Documents(LIMITS)
    yield documents
    await documents.close()
