"""Fixtures of every test of the store: a Maildir, and the steps of the disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import lockcheck
import pytest
from crash import Died
from maildir import Maildir

from maildir_imapd.store.disk import durable


@pytest.fixture
def make_maildir(tmp_path: Path) -> Iterator[Callable[[str], Maildir]]:
    made: list[Maildir] = []

    def make(name: str = "Box") -> Maildir:
        made.append(Maildir(tmp_path / name))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def maildir(make_maildir: Callable[[str], Maildir]) -> Maildir:
    return make_maildir("Box")


@pytest.fixture(autouse=True)
def _locks_checked() -> Iterator[None]:
    """The order of locks is kept, in whatever thread."""
    with lockcheck.checking():
        yield


@pytest.fixture(autouse=True)
def no_steps() -> Iterator[None]:
    """Whatever a test puts in the way of the disk is gone after it."""
    yield
    durable.step = None


@pytest.fixture
def dying() -> Iterator[list[int]]:
    """A counter: the n-th step of the disk from now raises Died (0: none)."""
    left = [0]

    def step(action: str, what: object) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise Died

    durable.step = step
    yield left
    durable.step = None
