"""URLFETCH (RFC 4467, RFC 5524): who may read by a URL, what is told of it, and of what is refused."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path

import pytest
from memory import POLICY, MemoryClient
from shared_mail import SharedMail

from maildir_imapd.budget import Budget
from maildir_imapd.errors import Goodbye, MailboxMissing, SpoolGone, Unavailable
from maildir_imapd.imap.policy import UrlRules
from maildir_imapd.imap.selected import urlfetch

RULES = UrlRules(frozenset({("h", 143)}), submitters=frozenset({"carol"}))
URLS = replace(POLICY, urls=RULES)

MESSAGE = (
    b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
    b"--b\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=C3=A4\r\nb=\r\nc\r\n"
    b"--b\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\nAAECAwo=\r\n"
    b"--b\r\nContent-Type: application/x\r\nContent-Transfer-Encoding: x-what\r\n\r\nwhat\r\n"
    b"--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: y\r\nContent-Transfer-Encoding: base64\r\n\r\naW5uZXI=\r\n"
    b"--b--\r\n"
)


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waited: list[float] = []
    monkeypatch.setattr(urlfetch, "pause", waited.append)
    return waited


@pytest.fixture
def mail(tmp_path: Path) -> SharedMail:
    mail = SharedMail(tmp_path)
    append(mail.client("ann"), MESSAGE)
    return mail


def append(client: MemoryClient, message: bytes) -> None:
    line = client.command(b"p APPEND INBOX {%d+}\r\n%b" % (len(message), message))[-1]
    assert line.startswith(b"p OK"), line


def authorized(client: MemoryClient, tail: bytes, access: bytes = b"authuser") -> bytes:
    line = client.command(b'g GENURLAUTH "imap://ann@h/INBOX/;uid=1%b;urlauth=%b" INTERNAL' % (tail, access))[0]
    return line.split(b'"')[1]


def raw(client: MemoryClient, line: bytes) -> bytes:
    return b"\r\n".join(client.command(line)) + b"\r\n"


def told(client: MemoryClient, url: bytes, parameters: bytes = b"") -> bytes:
    """What is told behind the URL, without the tagged line."""
    asked = b'("%b" %b)' % (url, parameters) if parameters else b'"%b"' % url
    answer = raw(client, b"u URLFETCH " + asked)
    begin, end = b'* URLFETCH "%b" ' % url, b"\r\nu OK URLFETCH completed\r\n"
    assert answer.startswith(begin)
    assert answer.endswith(end), answer
    return answer[len(begin) : -len(end)]


# --- who --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("access", "readers"),
    [
        (b"submit+dora", {"carol"}),
        (b"submit+bob", {"carol"}),
        (b"user+bob", {"bob"}),
        (b"user+ann", {"ann"}),
        (b"user+nobody", set()),
        (b"authuser", {"ann", "bob", "carol"}),
    ],
)
def test_who_may(mail: SharedMail, access: bytes, readers: set[str]) -> None:
    url = authorized(mail.client("ann", URLS), b"", access)
    found = {user for user in ("ann", "bob", "carol") if told(mail.client(user, URLS), url) != b"NIL"}
    assert found == readers


def test_anybody(mail: SharedMail) -> None:
    """Where there is a user whom anybody may be: he reads what is for anybody, and no more."""
    policy = replace(POLICY, urls=replace(RULES, anonymous="bob"))
    ann, bob, carol = (mail.client(user, policy) for user in ("ann", "bob", "carol"))
    anybody, users = authorized(ann, b"", b"anonymous"), authorized(ann, b"")
    assert told(bob, anybody) == told(carol, anybody) != b"NIL"
    assert told(bob, users) == told(bob, authorized(ann, b"", b"user+bob")) == b"NIL"
    assert told(carol, users) != b"NIL"
    # He is no more.
    assert told(mail.client("carol", URLS), anybody) == b"NIL"


def test_of_another_host(mail: SharedMail) -> None:
    url = authorized(mail.client("ann", URLS), b"")
    other = replace(POLICY, urls=UrlRules(frozenset({("other", 143)})))
    assert told(mail.client("bob", other), url) == b"NIL"


def test_neither_login_nor_mailbox_nor_mail_of_his_own_is_needed(mail: SharedMail, tmp_path: Path) -> None:
    ann, bob = mail.client("ann", URLS), mail.client("bob", URLS)
    url = authorized(ann, b"/;section=HEADER")
    (tmp_path / "bob").rename(tmp_path / "away")
    assert told(bob, url).startswith(b"{")
    stranger = MemoryClient(mail.namespaces("bob"), URLS, "bob")
    stranger.read_line()
    assert stranger.command(b'a URLFETCH "%b"' % url) == [b"a BAD Log in first"]


def test_the_open_mailbox_stays_as_it_is(mail: SharedMail) -> None:
    ann = mail.client("ann", URLS)
    ann.command(b"a SELECT INBOX")
    assert told(ann, authorized(ann, b"")) != b"NIL"
    assert b"\\Seen" not in ann.command(b"b FETCH 1 FLAGS")[0]
    assert b"[UNSEEN 1]" in raw(mail.client("ann", URLS), b"c EXAMINE INBOX")


# --- what -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tail", "section"),
    [
        (b"", b"BODY[]"),
        (b"/;section=HEADER", b"BODY[HEADER]"),
        (b"/;section=TEXT", b"BODY[TEXT]"),
        (b"/;section=1", b"BODY[1]"),
        (b"/;section=2.MIME", b"BODY[2.MIME]"),
        (b"/;section=4.TEXT", b"BODY[4.TEXT]"),
        (b"/;section=4.HEADER", b"BODY[4.HEADER]"),
        (b"/;section=4.1", b"BODY[4.1]"),
        (b"/;section=HEADER.FIELDS%20(subject%20x)", b"BODY[HEADER.FIELDS (subject x)]"),
        (b"/;section=4.HEADER.FIELDS.NOT%20(%22Subject%22)", b"BODY[4.HEADER.FIELDS.NOT (Subject)]"),
        (b"/;partial=5.7", b"BODY[]<5.7>"),
        (b"/;section=2/;partial=3", b"BODY[2]<3.99>"),
        (b"/;section=2/;partial=9999", b"BODY[2]<9999.1>"),
        (b"/;section=HEADER.FIELDS%20(subject)/;partial=2.4", b"BODY[HEADER.FIELDS (subject)]<2.4>"),
    ],
)
def test_as_fetch_tells_it(mail: SharedMail, tail: bytes, section: bytes) -> None:
    ann, carol = mail.client("ann", URLS), mail.client("carol", URLS)
    ann.command(b"a SELECT INBOX")
    answer = raw(ann, b"b FETCH 1 (%b)" % section.replace(b"BODY[", b"BODY.PEEK["))
    label = section.partition(b"<")[0]
    value = answer.partition(label)[2].partition(b" ")[2].removesuffix(b")\r\nb OK FETCH completed\r\n")
    url = authorized(ann, tail, b"submit+x")
    assert told(carol, url) == value
    assert told(carol, url, b"BODY") == b"(BODY %b)" % value
    assert raw(carol, b'x URLFETCH ("%b")' % url).startswith(b'* URLFETCH "%b" %b\r\n' % (url, value))


@pytest.mark.parametrize(
    ("tail", "value"),
    [
        (b"/;section=1", "ä\r\nbc".encode()),
        (b"/;section=2", b"\0\1\2\3\n"),
        (b"/;section=2/;partial=1.3", b"\1\2\3"),
        (b"/;section=3", None),
        (b"/;section=4.1", b"inner"),
        (b"/;section=4.TEXT", b"inner"),
        (b"/;section=4", b"Subject: y\r\nContent-Transfer-Encoding: base64\r\n\r\naW5uZXI="),
        (b"/;section=2.MIME", b"Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\n"),
        (b"/;section=HEADER.FIELDS%20(subject)", b"Subject: x\r\n\r\n"),
        (b"/;section=TEXT", MESSAGE.partition(b"\r\n\r\n")[2]),
        (b"", MESSAGE),
    ],
)
def test_binary(mail: SharedMail, tail: bytes, value: bytes | None) -> None:
    """RFC 5524 5: with a NUL it is a literal8; what cannot be decoded is NIL."""
    ann, carol = mail.client("ann", URLS), mail.client("carol", URLS)
    found = told(carol, authorized(ann, tail, b"submit+x"), b"BINARY")
    if value is None:
        assert found == b"(BINARY NIL)"
    else:
        mark = b"~" if b"\0" in value else b""
        assert found == b"(BINARY %b{%d}\r\n%b)" % (mark, len(value), value)


def test_structure(mail: SharedMail) -> None:
    ann = mail.client("ann", URLS)
    text = b'("text" "plain" ("charset" "us-ascii") NIL NIL "quoted-printable" 13 2 NIL NIL NIL NIL)'
    image = b'("image" "png" NIL NIL NIL "base64" 8 NIL NIL NIL NIL)'
    assert told(ann, authorized(ann, b"/;section=1"), b"BODYPARTSTRUCTURE") == b"(BODYPARTSTRUCTURE %b)" % text
    url = authorized(ann, b"/;section=2")
    assert told(ann, url, b"BODYPARTSTRUCTURE BODY") == (b"(BODYPARTSTRUCTURE %b) (BODY {8}\r\nAAECAwo=)" % image)
    # As it is told: RFC 5524 4.
    assert told(ann, url, b"BINARY BODYPARTSTRUCTURE") == (
        b'(BINARY ~{5}\r\n\0\1\2\3\n) (BODYPARTSTRUCTURE ("image" "png" NIL NIL NIL "BINARY" 5 NIL NIL NIL NIL))'
    )
    url = authorized(ann, b"/;section=1")
    assert b'"BINARY" 6 1 NIL' in told(ann, url, b"BODYPARTSTRUCTURE BINARY")
    # Of a TEXT it is that of the message whose text it is.
    inner = b'("text" "plain" ("charset" "us-ascii") NIL NIL "base64" 8 0 NIL NIL NIL NIL)'
    assert told(ann, authorized(ann, b"/;section=4.TEXT"), b"BODYPARTSTRUCTURE") == b"(BODYPARTSTRUCTURE %b)" % inner
    ann.command(b"a SELECT INBOX")
    whole = ann.command(b"b FETCH 1 BODYSTRUCTURE")[0].partition(b"BODYSTRUCTURE ")[2][:-1]
    assert told(ann, authorized(ann, b""), b"BODYPARTSTRUCTURE") == b"(BODYPARTSTRUCTURE %b)" % whole


@pytest.mark.parametrize("size", [100_000, 900_000])
def test_large_ones_come_from_their_file(tmp_path: Path, size: int) -> None:
    mail = SharedMail(tmp_path)
    ann, carol = mail.client("ann", URLS), mail.client("carol", URLS)
    data = bytes(range(256)) * (size // 256)
    body = base64.encodebytes(data).replace(b"\n", b"\r\n")
    head = b"MIME-Version: 1.0\r\nContent-Transfer-Encoding: base64\r\nContent-Type: image/png\r\n\r\n"
    append(ann, head + body)
    carol.session.progress.budget = budget = Budget(4 * size)
    url = authorized(ann, b"", b"submit+x")
    assert told(carol, url) == b"{%d}\r\n%b" % (len(head + body), head + body)
    url = authorized(ann, b"/;section=1/;partial=70000.900", b"submit+x")
    assert told(carol, url) == b"{900}\r\n" + body[70000:70900]
    url = authorized(ann, b"/;section=1", b"submit+x")
    structure = b'("image" "png" NIL NIL NIL "BINARY" %d NIL NIL NIL NIL)' % len(data)
    assert told(carol, url, b"BINARY BODYPARTSTRUCTURE") == (
        b"(BINARY ~{%d}\r\n%b) (BODYPARTSTRUCTURE %b)" % (len(data), data, structure)
    )
    assert budget.taken == 0


# --- and what is refused ------------------------------------------------------------------------------


def test_all_refusals_are_alike(mail: SharedMail, caplog: pytest.LogCaptureFixture) -> None:
    """A bad token, no user, no mailbox, no message, no part: nothing tells them apart but the log."""
    ann, carol = mail.client("ann", URLS), mail.client("carol", URLS)
    ann.command(b"a CREATE Work")
    good = authorized(ann, b"/;section=1", b"submit+x")
    rump, token = good.rpartition(b":internal:")[::2]
    caplog.set_level("INFO")
    for why, url in (
        ("its token is wrong", b"%b:internal:%b" % (rump, token[:-1] + (b"1" if token[-1:] == b"0" else b"0"))),
        ("its token is wrong", b"%b:internal:%b" % (rump, token.upper().replace(b"01", b"02", 1))),
        ("its token is wrong", b"%b:XSAMPLE:%b" % (rump, token)),
        ("Mailbox doesn't exist", good.replace(b"ann@", b"dora@")),
        ("nothing vouches for it", good.replace(b"ann@", b"bob@")),
        ("nothing vouches for it", good.replace(b"INBOX", b"Work")),
        ("nothing vouches for it", good.replace(b"INBOX", b"None")),
        ("has no such part", authorized(ann, b"/;section=9", b"submit+x")),
        ("has no such part", authorized(ann, b"/;section=1.1", b"submit+x")),
        ("has no such part", authorized(ann, b"/;section=1.TEXT", b"submit+x")),
        ("the URL", b"imap://h/"),
        ("IMAP URL", b"imap://ann@h/INBOX;UIDVALIDITY=1"),
        ("IMAP URL", b"x"),
        ("for somebody else", authorized(ann, b"", b"user+dora")),
    ):
        caplog.clear()
        assert told(carol, url) == told(carol, url, b"BINARY BODYPARTSTRUCTURE") == b"NIL"
        assert "url refused" in caplog.text
        if why not in ("the URL", "IMAP URL"):
            assert why in caplog.text
        assert token.decode()[10:] not in caplog.text
    ann.command(b"b SELECT INBOX")
    ann.command(b"c STORE 1 +FLAGS \\Deleted")
    ann.command(b"d EXPUNGE")
    assert told(carol, good) == b"NIL"


def test_one_refusal_is_not_that_of_others(mail: SharedMail) -> None:
    ann = mail.client("ann", URLS)
    good = authorized(ann, b"/;section=HEADER.FIELDS%20(subject)")
    lines = ann.command(b'a URLFETCH x "%b" {1+}\r\ny ("%b" BODY)' % (good, good))
    assert lines == [
        b'* URLFETCH "x" NIL',
        b'* URLFETCH "%b" {14}' % good,
        *b'Subject: x\r\n\r\n\r\n* URLFETCH "y" NIL'.split(b"\r\n"),
        b'* URLFETCH "%b" (BODY {14}' % good,
        *b"Subject: x\r\n\r\n)".split(b"\r\n"),
        b"a OK URLFETCH completed",
    ]  # fmt: skip


def test_what_a_client_sent_is_no_answer_of_ours(mail: SharedMail) -> None:
    text = b'x" {9}\r\n* BYE\r\n\xff'
    answer = raw(mail.client("ann", URLS), b"a URLFETCH {%d+}\r\n%b" % (len(text), text))
    assert answer == b"* URLFETCH {%d}\r\n%b NIL\r\na OK URLFETCH completed\r\n" % (len(text), text)


def test_who_tries_many_waits(mail: SharedMail, waits: list[float], caplog: pytest.LogCaptureFixture) -> None:
    ann = mail.client("ann", URLS)
    good = authorized(ann, b"")
    caplog.set_level("INFO")
    ann.command(b"a URLFETCH" + b" x" * urlfetch.REFUSED_FREELY)
    assert waits == []
    assert caplog.text.count("url refused") == urlfetch.NOTED
    assert f" count={urlfetch.REFUSED_FREELY}" in caplog.text
    ann.command(b"b URLFETCH" + b" x" * 12)
    assert len(waits) == 12
    assert waits == sorted(waits)
    assert waits[0] < waits[-1] == urlfetch.LONGEST_WAIT_SECONDS
    assert told(ann, good) != b"NIL"
    waits.clear()
    ann.command(b"c URLFETCH x")
    assert waits == []


@pytest.mark.parametrize(
    ("trouble", "answer"),
    [
        (MailboxMissing(), b"u OK"),
        (SpoolGone(), b"u NO [UNAVAILABLE]"),
        (Unavailable(), b"u NO [UNAVAILABLE]"),
        (Goodbye("Please connect again"), b"* BYE"),
    ],
)
def test_trouble_with_the_owner(mail: SharedMail, trouble: Exception, answer: bytes) -> None:
    """What ``Access.reach`` raises; of a spool that is gone the server makes MailboxMissing (server/reach.py)."""
    ann, carol = mail.client("ann", URLS), mail.client("carol", URLS)
    url = authorized(ann, b"", b"submit+x")

    def reach(user: str) -> object:
        raise trouble

    assert carol.session.access is not None
    carol.session.access = replace(carol.session.access, reach=reach)
    assert carol.command(b'u URLFETCH "%b"' % url)[-1].startswith(answer)


def test_without_room_it_may_be_done_later(mail: SharedMail) -> None:
    """RFC 4467 7: NO."""
    ann, carol = mail.client("ann", URLS), mail.client("carol", URLS)
    coded = b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + b"x=41\r\n" * 100_000
    append(ann, coded)
    url = ann.command(b"g GENURLAUTH imap://ann@h/INBOX/;uid=2/;section=1;urlauth=submit+x internal")[0].split(b'"')[1]
    carol.session.progress.budget = Budget(100_000)
    assert carol.command(b'u URLFETCH ("%b" BINARY)' % url)[-1].startswith(b"u NO ")
    assert told(carol, url).startswith(b"{")


def test_a_rights_list_that_cannot_be_read_lets_nobody_in(mail: SharedMail, tmp_path: Path) -> None:
    ann, carol = mail.client("ann", URLS), mail.client("carol", URLS)
    url = authorized(ann, b"", b"submit+x")
    (tmp_path / "ann" / "dovecot-acl").mkdir()
    assert carol.command(b'u URLFETCH "%b"' % url)[-1].startswith(b"u NO ")
