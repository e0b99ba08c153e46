"""What all tests share."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from typing import Any

import pytest

from fondaco.settings import LogSettings
from fondaco.telemetry import logs
from gateways import CODER, TINY, Gateway, running

# For those tests that load a model themselves, see `fondaco.engines`.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def strict_logs() -> Iterator[None]:
    """A log call in this process that would carry more than declared fields fails its test."""
    logs.configure(LogSettings(), strict=True)
    yield
    logs.configure(LogSettings(), strict=True)


@pytest.fixture(scope="session")
def tiny_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A server whose default is the smallest real model, ready to answer; shared by all tests that only ask it."""
    with running(tmp_path_factory.mktemp("tiny"), "--model", TINY) as gateway:
        gateway.wait_ready()
        yield gateway


@pytest.fixture(scope="session")
def coder_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A server whose default is the model that users get, for tests that need an answer which makes sense.

    A machine that has never had its weights fetches them first: give such tests a longer timeout.
    """
    with running(tmp_path_factory.mktemp("coder"), "--model", CODER) as gateway:
        gateway.wait_ready(seconds=840)
        yield gateway


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where everything a test needs must be there (CI), a skipped test has failed."""
    report = yield
    if os.environ.get("FONDACO_TEST_REQUIRE_ALL") and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
    return report
