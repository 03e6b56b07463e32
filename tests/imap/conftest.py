from __future__ import annotations

from collections.abc import Iterator

import lockcheck
import pytest


@pytest.fixture(autouse=True)
def _locks_checked() -> Iterator[None]:
    """The order of locks is kept, in whatever thread."""
    with lockcheck.checking():
        yield
