"""Test processes share one server that forks, where Python lets them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from multiprocessing import forkserver
from pathlib import Path

import pytest

from tests import forked


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], forkserver.ForkServer]]:
    """Return a function that makes a server without imports, as another process would have it."""
    servers = []

    def new() -> forkserver.ForkServer:
        servers.append(forkserver.ForkServer())
        monkeypatch.setattr(forked, "SERVER", servers[-1])
        return servers[-1]

    yield new
    for shared in servers:
        if shared._forkserver_pid is None:  # the server ends when the last end of its pipe closes
            os.close(shared._forkserver_alive_fd)
    for own in servers:
        own._stop()


def test_the_second_process_shares_the_server_of_the_first(
    server: Callable[[], forkserver.ForkServer], tmp_path: Path
) -> None:
    if not forked.shareable(forked.SERVER):
        pytest.skip("this Python has a server for each process")
    addresses = []
    for _ in range(2):
        one = server()
        forked.start_server(tmp_path)
        addresses.append(one._forkserver_address)
    assert addresses[0] == addresses[1]
    assert str(tmp_path) in addresses[0]


def test_a_server_with_a_key_is_not_shared(
    server: Callable[[], forkserver.ForkServer], tmp_path: Path
) -> None:
    addresses = set()
    for _ in range(2):
        one = server()
        one._forkserver_authkey = b"of Python 3.14"
        forked.start_server(tmp_path)
        addresses.add(one._forkserver_address)
    assert None not in addresses
    assert len(addresses) == 2
    assert list(tmp_path.iterdir()) == []
