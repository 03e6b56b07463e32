"""Whether there is a user, as Postfix asks it of a socketmap."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from asked import Asker, answering
from hypothesis import given
from hypothesis import strategies as st

from maildir_imapd.server.asking import BadRequest
from maildir_imapd.server.lookup_service import REQUEST_OCTETS, cut_netstring

USERS = "ann@example.org:{PLAIN}secret\nben:{PLAIN}secret::::::nologin\n"


@pytest.fixture
def asker(tmp_path: Path) -> Iterator[Asker]:
    with answering(tmp_path, ["lookup"], USERS) as addresses, Asker(addresses["lookup"]) as found:
        yield found


def netstring(octets: bytes) -> bytes:
    return b"%d:%b," % (len(octets), octets)


def ask(asker: Asker, request: bytes) -> bytes:
    asker.send(netstring(request))
    received = bytearray()
    while (found := cut_netstring(received, 1000)) is None:
        received += asker.sock.recv(1)
    return found


@given(st.lists(st.binary(max_size=30)), st.lists(st.integers(1, 20)))
def test_netstrings_are_cut_wherever_they_are_torn(strings: list[bytes], sizes: list[int]) -> None:
    stream = b"".join(map(netstring, strings))
    received, found = bytearray(), []
    for size in [*sizes, len(stream)]:
        received += stream[:size]
        stream = stream[size:]
        while (each := cut_netstring(received, 30)) is not None:
            found.append(each)
    assert found == strings
    assert not received


@given(st.binary(max_size=20))
def test_anything_is_a_netstring_or_not(data: bytes) -> None:
    received = bytearray(data)
    try:
        found = cut_netstring(received, 30)
    except BadRequest:
        return
    assert found is None or data.startswith(netstring(found))


@pytest.mark.parametrize("data", [b"x", b":", b"01:x,", b"-1:,", b"3:abcd", b"123456", b"99999:", b" 1:x,", b"+1:x,"])
def test_what_is_no_netstring(data: bytes) -> None:
    with pytest.raises(BadRequest):
        cut_netstring(bytearray(data), REQUEST_OCTETS)


def test_users(asker: Asker) -> None:
    assert ask(asker, b"users ann@example.org") == b"OK ann@example.org"
    assert ask(asker, b"users Ann@Example.ORG") == b"OK ann@example.org"
    assert ask(asker, b"users ben") == b"OK ben"
    for key in (b"nobody@example.org", b"ann", b"@example.org", b"", b"../ann", b"a\0b", b"\xff", b"x" * 5000, b"*"):
        assert ask(asker, b"users " + key) == b"NOTFOUND ", key
    assert ask(asker, b"aliases ann@example.org").startswith(b"PERM ")
    assert ask(asker, b"users").startswith(b"PERM ")


def test_what_cannot_be_known(asker: Asker, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "passwd").unlink()
    (tmp_path / "passwd").mkdir()
    assert ask(asker, b"users ann@example.org").startswith(b"TEMP ")
    assert "lookup failed" in caplog.text


def test_out_of_step(asker: Asker, caplog: pytest.LogCaptureFixture) -> None:
    asker.send(b"get users ann\n")
    assert asker.rest() == b""
    assert "bad request service=lookup" in caplog.text
