"""One market for all interop tests: starting the workers of both libraries is what costs time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.interop.peers import Market
from tests.servers import RedisServer


@pytest.fixture(scope="session")
def open_market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    pytest.importorskip("celery")
    server = RedisServer(tmp_path_factory.mktemp("market-redis"))
    server.start()
    market = Market(tmp_path_factory.mktemp("market"), server)
    try:
        market.open()
        yield market
    finally:
        market.close()
        server.stop()


@pytest.fixture
def market(open_market: Market) -> Iterator[Market]:
    """The market; what its workers log during the test is shown if it fails."""
    before = {kind: len(worker.output()) for kind, worker in open_market.worker.items()}
    yield open_market
    for kind, worker in open_market.worker.items():
        print(f"---- the {kind} worker\n{worker.output()[before[kind] :]}")
