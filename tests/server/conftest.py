from __future__ import annotations

from collections.abc import Iterator

import pytest
from client import Client


@pytest.fixture(autouse=True)
def _no_socket_left() -> Iterator[None]:
    yield
    Client.close_all()
