"""Several accounts as one, of which some cannot be looked at."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from shared_mail import SharedMail

from maildir_imapd.errors import MailboxMissing, StoreError, Unavailable
from maildir_imapd.store import namespaces
from maildir_imapd.store.account import Account
from maildir_imapd.store.branch import Branch, SpaceKind
from maildir_imapd.store.namespaces import Namespaces, OneAccount, OtherUsers
from maildir_imapd.store.records.acl import ALL


@pytest.fixture
def mail(tmp_path: Path) -> SharedMail:
    mail = SharedMail(tmp_path)
    for user in ("ann", "bob"):
        mail.accounts[user].create("Work")
    mail.share("bob", "ann")
    return mail


def fails(*_: object, **__: object) -> None:
    raise StoreError(detail="gone")


def test_names_of_one_that_cannot_be_looked_at_are_those_of_before(
    mail: SharedMail, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = mail.namespaces("ann")
    before = ann.names.look()
    assert {"Work", "shared/bob/Work", "shared/bob"} <= before.mailboxes.keys()
    assert {"shared"} <= before.bare
    assert ann.names.known is before
    monkeypatch.setattr(mail.accounts["bob"], "known", fails)
    assert ann.names.look().mailboxes == before.mailboxes
    # Of one that has never been seen nothing is known.
    assert "shared/bob/Work" not in mail.namespaces("ann").names.look().mailboxes
    monkeypatch.setattr(mail.accounts["ann"], "known", fails)
    with pytest.raises(StoreError):
        ann.names.look()


def test_who_listens_hears_of_all_and_of_those_that_come(mail: SharedMail) -> None:
    heard: list[str] = []
    ann = mail.namespaces("ann")
    listening = ann.names.listen(lambda: heard.append("x"))
    ann.names.look()
    heard.clear()
    mail.accounts["bob"].create("More")
    assert heard
    mail.share("carol", "ann")
    assert "shared/carol" in ann.names.look().mailboxes
    heard.clear()
    mail.accounts["carol"].create("More")
    assert heard
    mail.shares["ann"] = ("bob",)
    ann.names.look()
    heard.clear()
    mail.accounts["carol"].create("Another")
    assert not heard
    listening.close()
    listening.close()
    mail.accounts["bob"].create("Last")
    assert not heard


def test_listening_that_fails_leaves_nothing(mail: SharedMail, monkeypatch: pytest.MonkeyPatch) -> None:
    ann = mail.namespaces("ann")
    monkeypatch.setattr(mail.accounts["bob"].names, "listen", fails)
    with pytest.raises(StoreError):
        ann.names.listen(lambda: None)
    assert not mail.accounts["ann"].names.listened


def test_annotations_of_one_that_cannot_be_looked_at(mail: SharedMail, monkeypatch: pytest.MonkeyPatch) -> None:
    ann = mail.namespaces("ann")
    heard: list[str] = []
    listening = ann.metadata.listen(lambda: heard.append("x"))
    since = ann.metadata.latest()
    mail.accounts["bob"].metadata.change("Work", [(b"/shared/comment", b"x"), (b"/private/comment", b"y")])
    mail.accounts["ann"].metadata.change("Work", [(b"/private/comment", b"z")])
    assert heard
    later, changed = ann.metadata.changes(since, ours=set())
    assert changed == {"shared/bob/Work": [b"/shared/comment"], "Work": [b"/private/comment"]}
    monkeypatch.setattr(mail.accounts["bob"].metadata, "changes", fails)
    monkeypatch.setattr(mail.accounts["bob"].metadata, "latest", fails)
    assert ann.metadata.changes(later, ours=set()) == (later, {})
    assert [branch.owner for branch in ann.metadata.latest()] == ["ann", ""]
    # One that has come since has no news.
    assert ann.metadata.changes({ann.branch: later[ann.branch]}, ours=set())[1] == {}
    for name in ("changes", "latest"):
        monkeypatch.setattr(mail.accounts["ann"].metadata, name, fails)
    with pytest.raises(StoreError):
        ann.metadata.latest()
    with pytest.raises(StoreError):
        ann.metadata.changes(later, ours=set())
    listening.close()


def test_all_annotations_or_none(mail: SharedMail, monkeypatch: pytest.MonkeyPatch) -> None:
    ann = mail.namespaces("ann")
    both = [(b"/private/comment", b"mine"), (b"/shared/comment", b"all")]
    assert len(ann.metadata.change("shared/bob/Work", both)) == 2
    monkeypatch.setattr(mail.accounts["bob"].metadata, "change", fails)
    with pytest.raises(StoreError):
        ann.metadata.change("shared/bob/Work", [(entry, b"other") for entry, _ in both])
    assert ann.metadata.entries("shared/bob/Work").value(b"/private/comment") == b"mine"
    with pytest.raises(MailboxMissing):
        ann.metadata.entries("shared/dora/Work")
    assert ann.metadata.entries("") == {}


def test_a_namespace_that_cannot_be_opened_is_not_shown(mail: SharedMail, monkeypatch: pytest.MonkeyPatch) -> None:
    def opens() -> Branch | None:
        raise Unavailable

    broken = OneAccount(SpaceKind.PUBLIC, "Public/", opens)
    empty = OneAccount(SpaceKind.PUBLIC, "Later/", lambda: None)
    ann = Namespaces(mail.accounts["ann"], [broken, empty], user="ann")
    assert [row.name for row in ann.folders()] == ["INBOX", "Work"]
    assert ann.branches() == (ann.branch,)
    assert ann.opened() == []
    with pytest.raises(Unavailable):
        ann.locate("Public/News")
    assert ann.locate("Later/News") is None
    both = mail.namespaces("ann")
    monkeypatch.setattr(mail.accounts["bob"], "folders", fails)
    assert "shared/bob/Work" not in [row.name for row in both.folders()]


def test_one_of_many_is_tried_again(mail: SharedMail, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(namespaces, "OWNERS", 2)
    tries: list[str] = []

    def opens(owner: str, prefix: str) -> Branch | None:
        tries.append(owner)
        if owner == "bob" and len(tries) < 3:
            raise Unavailable
        if owner == "nobody":
            return None
        return Branch(mail.accounts[owner], SpaceKind.OTHERS, prefix, "/", owner, own=False, usual=ALL)

    others = OtherUsers(
        "shared/",
        "/",
        spelled=lambda user: None if user == "odd" else user,
        read=lambda level: None if level == "?" else level,
        owners=lambda: owners,
        opens=opens,
    )
    owners: tuple[str, ...] = ("bob", "nobody", "carol")
    assert others.branches() == ()
    assert others.branches() == ()
    monkeypatch.setattr(namespaces, "RETRY_SECONDS", 0.0)
    owners = ("odd", "bob")
    assert [branch.owner for branch in others.branches()] == ["bob"]
    assert others.branch("shared/") is None
    assert others.branch("shared/?") is None
    assert others.branch("shared/carol/Work") is not None
    for n in range(6):
        others.branch(f"shared/nobody{n}" if n > 9 else "shared/nobody")
    assert [account.root for account in others.opened()] == [mail.accounts[user].root for user in ("bob", "carol")]


def test_subscriptions_that_are_kept_there(mail: SharedMail) -> None:
    public = Branch(mail.accounts["public"], SpaceKind.PUBLIC, "Public/", "/", own=False, usual=ALL)
    mail.accounts["public"].create("News")
    ann = Namespaces(
        mail.accounts["ann"], [OneAccount(SpaceKind.PUBLIC, "Public/", lambda: public, subscriptions=True)], user="ann"
    )
    ann.subscribe("Public/News")
    ann.subscribe("Work")
    assert mail.accounts["public"].subscriptions() == ["News"]
    assert ann.subscriptions() == ["Work", "Public/News"]
    ann.unsubscribe("Public/News")
    assert ann.subscriptions() == ["Work"]
    with pytest.raises(MailboxMissing):
        ann.subscribe("Public/None")
    listed: Callable[[], object] = ann.folders
    assert listed() is listed()


def test_own_mailboxes_whose_place_cannot_be_known_are_hidden(tmp_path: Path) -> None:
    own = Account(os.fsencode(tmp_path / "ann"), delimiter="/", fsync="never")
    own.create("Public/Mine")

    def opens() -> Branch | None:
        raise Unavailable

    ann = Namespaces(own, [OneAccount(SpaceKind.PUBLIC, "Public/", opens)], user="ann")
    assert [row.name for row in ann.own_rows()] == ["INBOX"]
