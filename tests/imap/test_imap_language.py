"""LANGUAGE (RFC 5255 3) where a script cannot go: settings, prefixes, TLS."""

from __future__ import annotations

import itertools
from dataclasses import replace

from memory import POLICY, MemoryClient, MemoryWires
from spool import Spool

from maildir_imapd.imap.progress import Progress
from maildir_imapd.store.account import Account


def test_default_is_what_the_administrator_prefers(spool: Spool) -> None:
    client = MemoryWires(spool.root, replace(POLICY, language="fr")).connect(login=True)
    assert client.command(b"a NOOP") == [b"a OK NOOP completed"]
    assert client.command(b"b LANGUAGE it default")[0] == b'* LANGUAGE ("fr")'
    assert client.command(b"c NOOP") == ["c OK NOOP terminé".encode()]


def test_namespaces_are_told_again_when_their_translation_changes(spool: Spool) -> None:
    account = Account(bytes(spool.root), fsync="never", prefix="INBOX.")
    client = MemoryWires(account).connect(login=True)
    plain = b'* NAMESPACE (("INBOX." ".")) NIL NIL'
    french = b'* NAMESPACE (("INBOX." "." "TRANSLATION" ("Bo&AO4-te de r&AOk-ception."))) NIL NIL'
    assert client.command(b"a NAMESPACE")[0] == plain
    assert client.command(b"b LANGUAGE fr")[:2] == [b'* LANGUAGE ("fr")', french]
    assert len(client.command(b"c LANGUAGE fr-CA")) == 2
    assert client.command(b"d NAMESPACE")[0] == french
    # RFC 5255 3.4 has modified UTF-7 whatever else the client speaks.
    client.command(b"e ENABLE UTF8=ACCEPT")
    assert client.command(b"f NAMESPACE")[0] == french
    assert client.command(b"g LANGUAGE it") == ["g NO Aucune langue de ce genre n’est parlée ici".encode()]
    assert client.command(b"h LANGUAGE i-default")[:2] == [b'* LANGUAGE ("i-default")', plain]


def test_a_language_chosen_before_tls_is_forgotten(spool: Spool) -> None:
    # RFC 5255 7: whoever sat between may have chosen it.
    client = MemoryClient(Account(bytes(spool.root), fsync="never"), replace(POLICY, tls_available=True))
    client.read_line()
    client.command(b"a LANGUAGE de")
    client.command(b"b STARTTLS")
    client.engine.upgraded(b"TLS")
    assert client.command(b"c NOOP") == [b"c OK NOOP completed"]


def test_progress_updates_and_goodbyes_speak_it_too(spool: Spool) -> None:
    client = MemoryWires(spool.root).connect(login=True)
    client.command(b"a LANGUAGE de")
    session = client.session
    session.progress = Progress(itertools.count(0.0, 20.0).__next__)
    session.progress.begin(b"t", client.reply, session.say)
    session.progress.report(1, 2)
    assert client.read_line() == b'* OK [INPROGRESS ("t" 1 2)] Noch in Arbeit'
    lines = [client.command(b"x BOGUS") for _ in range(POLICY.errors_in_a_row)]
    assert lines[-1] == [b"x BAD Unbekannter Befehl", "* BYE Zu viele ungültige Befehle".encode()]
