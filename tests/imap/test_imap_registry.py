"""The table of commands: what the parsers know it knows, and what it announces is there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from memory import POLICY, MemoryWires

from maildir_imapd.imap import commands
from maildir_imapd.imap.registry import TABLE
from maildir_imapd.imap.session import State
from maildir_imapd.wire.parse import BARE, PARSERS, UID_PARSERS

# What a client reads in its greeting and after login, with all that settings give.  RFC 9051 Appendix E lists what
# IMAP4rev2 has taken in: all of that is named too, for clients of IMAP4rev1.
AFTER = [
    "IMAP4rev1", "IMAP4rev2", "ACL", "APPENDLIMIT=104857600", "BINARY", "CATENATE", "CHILDREN", "CONDSTORE",
    "CONTEXT=SEARCH", "CONTEXT=SORT", "CREATE-SPECIAL-USE", "ENABLE", "ESEARCH", "ESORT", "FILTERS",
    "I18NLEVEL=2", "ID", "IDLE", "INPROGRESS", "LANGUAGE", "LIST-EXTENDED", "LIST-METADATA", "LIST-MYRIGHTS",
    "LIST-STATUS", "LITERAL+", "METADATA", "MOVE", "MULTIAPPEND", "MULTISEARCH", "NAMESPACE", "NOTIFY", "OBJECTID",
    "PARTIAL", "PREVIEW", "QRESYNC", "REPLACE",
    "RIGHTS=texk", "SASL-IR", "SAVEDATE", "SEARCH=FUZZY", "SEARCHRES", "SORT", "SORT=DISPLAY", "SPECIAL-USE",
    "STATUS=SIZE", "THREAD=ORDEREDSUBJECT", "THREAD=REFERENCES", "THREAD=REFS", "UIDBATCHES", "UIDONLY", "UIDPLUS",
    "UNAUTHENTICATE", "UNSELECT", "UTF8=ACCEPT", "WITHIN",
]  # fmt: skip
QUOTA = {"QUOTA", "QUOTA=RES-MAILBOX", "QUOTA=RES-MESSAGE", "QUOTA=RES-STORAGE"}
# What does not depend on the user is named before login, too: Python's imaplib asks once, there.
PERSONAL = {"QUOTASET", *QUOTA}
BEFORE = [name for name in AFTER if name not in PERSONAL] + ["AUTH=LOGIN", "AUTH=PLAIN"]


def test_every_command_that_is_parsed_is_in_the_table_and_no_other() -> None:
    assert commands.__all__
    assert set(TABLE) == set(BARE) | set(PARSERS) | {b"UID " + name for name in UID_PARSERS}


def test_a_command_is_known_in_some_state_and_none_after_logout() -> None:
    for spec in TABLE.values():
        assert spec.states, spec.name
        assert not spec.states & State.LOGOUT, spec.name


def test_what_streams_is_append_and_replace() -> None:
    """Their literals are messages; all others are held to the limit of an argument."""
    assert {name for name, spec in TABLE.items() if spec.literal} == {b"APPEND", b"REPLACE", b"UID REPLACE"}


def test_no_expunge_while_a_client_counts() -> None:
    """RFC 3501 7.4.1: FETCH, STORE and SEARCH by number, and what later RFCs add to them (5256, 5267)."""
    assert {name for name, spec in TABLE.items() if not spec.expunge} == {
        b"FETCH", b"STORE", b"SEARCH", b"SORT", b"THREAD",
    }  # fmt: skip


@pytest.mark.parametrize(("login", "names"), [(False, BEFORE), (True, AFTER)], ids=["before login", "after it"])
def test_what_is_announced(login: bool, names: list[str], tmp_path: Path) -> None:
    client = MemoryWires(tmp_path / "Maildir").connect(login=login)
    found = client.command(b"a CAPABILITY")[0].decode().split()[2:]
    assert sorted(found) == sorted(names)
    # Some clients look no further.
    assert found[:2] == ["IMAP4rev1", "IMAP4rev2"]


def test_what_a_setting_takes_away_is_not_announced(tmp_path: Path) -> None:
    policy = replace(POLICY, acl=False, utf8="no", quota_set=True, compress=True, xlist=True)
    client = MemoryWires(tmp_path / "Maildir", policy).connect(login=True)
    found = set(client.command(b"a CAPABILITY")[0].decode().split()[2:])
    assert set(AFTER) - found == {"ACL", "RIGHTS=texk", "LIST-MYRIGHTS", "UTF8=ACCEPT"}
    assert found - set(AFTER) == {"QUOTASET", "COMPRESS=DEFLATE", "XLIST", *QUOTA}
    stranger = MemoryWires(tmp_path / "Maildir", policy).connect(login=False)
    early = set(stranger.command(b"a CAPABILITY")[0].decode().split()[2:])
    assert found - early == PERSONAL
    assert early - found == {"AUTH=LOGIN", "AUTH=PLAIN"}


def test_without_tls_no_password_is_asked_for(tmp_path: Path) -> None:
    """RFC 3501 7.2.1, 11.1."""
    policy = replace(POLICY, plaintext_login=False, tls_available=True)
    client = MemoryWires(tmp_path / "Maildir", policy).connect(login=False)
    found = client.command(b"a CAPABILITY")[0].split()[2:]
    assert {b"STARTTLS", b"LOGINDISABLED"} <= set(found)
    assert not any(name.startswith(b"AUTH=") for name in found)
    assert {b"ENABLE", b"IDLE"} <= set(found)
