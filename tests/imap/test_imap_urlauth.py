"""GENURLAUTH and RESETKEY (RFC 4467): for whom URLs are authorized, and what ends that."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from memory import POLICY, MemoryClient
from shared_mail import SharedMail

from maildir_imapd.imap.policy import UrlRules
from maildir_imapd.imap.selected import urlauth, urlfetch
from maildir_imapd.imap.session import Session
from maildir_imapd.store.branch import Branch
from maildir_imapd.wire.authorized_url import parse_full

RULES = UrlRules(frozenset({("mail.example.org", 143), ("mail.example.org", 1143)}), submitters=frozenset({"carol"}))
URLS = replace(POLICY, urls=RULES)
SERVER = b"imap://ann@mail.example.org"


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long URLs that were refused had whoever brought them wait."""
    waited: list[float] = []
    monkeypatch.setattr(urlfetch, "pause", waited.append)
    return waited


@pytest.fixture
def mail(tmp_path: Path) -> SharedMail:
    mail = SharedMail(tmp_path)
    ann = mail.client("ann")
    for name in (b"INBOX", b"Work"):
        ann.command(b"a CREATE " + name)
        append(ann, name, b"of ann")
    return mail


def append(client: MemoryClient, mailbox: bytes, text: bytes) -> None:
    body = b"Subject: x\r\n\r\n%b\r\n" % text
    line = client.command(b"p APPEND %b {%d+}\r\n%b" % (mailbox, len(body), body))[-1]
    assert line.startswith(b"p OK"), line


def authorized(client: MemoryClient, rump: bytes) -> bytes:
    lines = client.command(b'g GENURLAUTH "%b" INTERNAL' % rump)
    assert lines[-1].startswith(b"g OK"), lines
    (line,) = lines[:-1]
    begin, url, end = line.split(b'"')
    assert (begin, end) == (b"* GENURLAUTH ", b"")
    assert url.startswith(rump + b":internal:")
    return url


def told(client: MemoryClient, url: bytes) -> bytes | None:
    """What URLFETCH says of a URL, None for NIL."""
    lines = client.command(b'u URLFETCH "%b"' % url)
    assert lines[-1] == b"u OK URLFETCH completed", lines
    begin = b'* URLFETCH "%b" ' % url
    assert lines[0].startswith(begin)
    if lines[0] == begin + b"NIL":
        assert len(lines) == 2
        return None
    octets = int(lines[0].removeprefix(begin).strip(b"{}"))
    text = b"\r\n".join(lines[1:-1])
    assert len(text) == octets
    return text


def test_as_in_the_rfc(mail: SharedMail) -> None:
    ann, carol = mail.client("ann", URLS), mail.client("carol", URLS)
    url = authorized(ann, SERVER + b"/INBOX/;uid=1/;section=TEXT;urlauth=submit+fred")
    assert parse_full(url).mechanism == b"INTERNAL"
    assert told(carol, url) == b"of ann\r\n"
    assert mail.reached == ["ann"]
    # One's own is read without becoming anybody.
    mine = authorized(ann, SERVER + b"/INBOX/;uid=1/;section=TEXT;urlauth=user+ann")
    assert told(ann, mine) == b"of ann\r\n"
    assert mail.reached == ["ann"]


def test_several_at_once(mail: SharedMail) -> None:
    ann = mail.client("ann", URLS)
    rumps = [SERVER + b"/%b/;uid=1;urlauth=authuser" % name for name in (b"INBOX", b"Work")]
    lines = ann.command(b"a GENURLAUTH %b internal {%d+}\r\n%b INTERNAL" % (rumps[0], len(rumps[1]), rumps[1]))
    urls = lines[0].split(b'"')[1::2]
    assert [url.rsplit(b":", 2)[0] for url in urls] == rumps
    tokens = {url.rsplit(b":", 1)[1] for url in urls}
    assert len(tokens) == 2
    # All of them or none.
    assert ann.command(b"b GENURLAUTH %b internal x internal" % rumps[0])[0].startswith(b"b BAD")


@pytest.mark.parametrize(
    ("url", "mechanism"),
    [
        # The three of RFC 4467 7: no access, no user; and each of the others.
        (SERVER + b"/INBOX/;uid=1/;section=1.2", b"INTERNAL"),
        (b"imap://mail.example.org/INBOX/;uid=1;urlauth=submit+fred", b"INTERNAL"),
        (SERVER + b"/INBOX/;uid=1;urlauth=submit+fred", b"XSAMPLE"),
        (b"imap://bob@mail.example.org/INBOX/;uid=1;urlauth=submit+fred", b"INTERNAL"),
        (b"imap://Ann@mail.example.org/INBOX/;uid=1;urlauth=submit+fred", b"INTERNAL"),
        (b"imap://ann@other.example.org/INBOX/;uid=1;urlauth=submit+fred", b"INTERNAL"),
        (b"imap://ann@mail.example.org:993/INBOX/;uid=1;urlauth=submit+fred", b"INTERNAL"),
        (SERVER + b"/None/;uid=1;urlauth=submit+fred", b"INTERNAL"),
        (SERVER + b"/shared/bob/Work/;uid=1;urlauth=submit+fred", b"INTERNAL"),
        (SERVER + b"/shared/;uid=1;urlauth=submit+fred", b"INTERNAL"),
        (SERVER + b"/INBOX;UIDVALIDITY=1/;uid=1;urlauth=submit+fred", b"INTERNAL"),
        (SERVER + b"/INBOX;urlauth=submit+fred", b"INTERNAL"),
        (SERVER + b"/INBOX/;uid=1;urlauth=anonymous", b"INTERNAL"),
        (SERVER + b"/INBOX/;uid=1;expire=tomorrow;urlauth=authuser", b"INTERNAL"),
        (SERVER + b"/INBOX/;uid=1;urlauth=authuser:internal:" + b"0" * 74, b"INTERNAL"),
    ],
)
def test_not_authorized(mail: SharedMail, url: bytes, mechanism: bytes) -> None:
    ann = mail.client("ann", URLS)
    (line,) = ann.command(b'a GENURLAUTH "%b" %b' % (url, mechanism))
    assert line.startswith(b"a BAD"), line
    assert mail.accounts["ann"].url_keys.find("INBOX") is None


def test_other_spellings_of_the_same(mail: SharedMail) -> None:
    ann = mail.client("ann", URLS)
    uidvalidity = mail.accounts["ann"].mailbox("INBOX").snapshot.uidvalidity
    for rump in (
        b"imap://ann@MAIL.example.org:1143/INBOX/;uid=1/;section=TEXT;urlauth=authuser",
        b"imap://%%61nn;AUTH=*@mail.example.org/inbox;UIDVALIDITY=%d/;UID=1/;SECTION=TEXT;URLAUTH=user+ann"
        % uidvalidity,
        b"imap://ann@mail.example.org/%%49nbox/;uid=1/;section=TEXT/;partial=0.99;urlauth=authuser".replace(
            b"%%", b"%"
        ),
    ):
        assert told(ann, authorized(ann, rump)) == b"of ann\r\n"


def test_a_name_that_is_not_ascii(mail: SharedMail) -> None:
    ann = mail.client("ann", URLS)
    ann.command(b"a CREATE &AOQ-/b&-c")
    append(ann, b"&AOQ-/b&-c", b"there")
    for name in (b"%C3%A4/b&c", b"%C3%A4%2Fb%26c", b"a%CC%88/b&c"):
        assert told(ann, authorized(ann, SERVER + b"/%b/;uid=1/;section=TEXT;urlauth=authuser" % name)) == b"there\r\n"


def test_who_may_change_nothing_authorizes_nothing(mail: SharedMail) -> None:
    ann = mail.client("ann", URLS)
    ann.session.read_only = True
    rump = SERVER + b"/INBOX/;uid=1;urlauth=authuser"
    assert ann.command(b"a GENURLAUTH %b internal" % rump)[0].startswith(b"a NO [NOPERM]")
    assert ann.command(b"b RESETKEY")[0].startswith(b"b NO [NOPERM]")
    guest = mail.client("ann", replace(POLICY, urls=replace(RULES, anonymous="ann")))
    assert guest.command(b"c GENURLAUTH %b internal" % rump)[0].startswith(b"c NO [NOPERM]")


def test_without_a_host_there_is_none_of_it(mail: SharedMail) -> None:
    ann = mail.client("ann")
    for line in (b"RESETKEY", b"GENURLAUTH a internal", b"URLFETCH a"):
        assert ann.command(b"a " + line) == [b"a BAD Unknown command"]
    assert b"URLAUTH" not in b" ".join(ann.command(b"b CAPABILITY"))
    ann = mail.client("ann", URLS)
    assert b" URLAUTH URLAUTH=BINARY" in b" ".join(ann.command(b"b CAPABILITY"))
    anywhere = mail.client("ann", replace(POLICY, urls=UrlRules(anywhere=True)))
    assert told(anywhere, authorized(anywhere, b"imap://ann@what.ever:7/INBOX/;uid=1;urlauth=authuser")) is not None


def test_the_mechanisms_are_named_where_nobody_listens(mail: SharedMail) -> None:
    """RFC 4467 8 and 10."""
    ann = mail.client("ann", URLS)
    assert not any(b"URLMECH" in line for line in ann.command(b"a SELECT INBOX"))
    assert ann.command(b"b RESETKEY INBOX") == [b"b OK No URL of this mailbox is authorized any more"]
    ann.session.secure = True
    for line in (b"SELECT INBOX", b"EXAMINE INBOX"):
        assert b"* OK [URLMECH INTERNAL] URLs can be authorized" in ann.command(b"c " + line)
    assert ann.command(b"d RESETKEY INBOX internal")[0].startswith(b"d OK [URLMECH INTERNAL]")
    assert not any(b"URLMECH" in line for line in mail.client("ann", POLICY).command(b"a SELECT INBOX"))


# --- what ends it -----------------------------------------------------------------------------------


def test_resetkey(mail: SharedMail) -> None:
    ann, bob = mail.client("ann", URLS), mail.client("bob", URLS)
    inbox = authorized(ann, SERVER + b"/INBOX/;uid=1;urlauth=authuser")
    work = authorized(ann, SERVER + b"/Work/;uid=1;urlauth=authuser")
    assert told(bob, inbox)
    assert ann.command(b"a RESETKEY INBOX")[0].startswith(b"a OK")
    assert told(bob, inbox) is None
    assert told(bob, work)
    again = authorized(ann, SERVER + b"/INBOX/;uid=1;urlauth=authuser")
    assert again != inbox
    assert told(bob, again)
    assert ann.command(b"b RESETKEY")[0].startswith(b"b OK")
    assert told(bob, again) is None
    assert told(bob, work) is None
    assert ann.command(b"c RESETKEY INBOX XSAMPLE")[0].startswith(b"c BAD")
    assert ann.command(b"d RESETKEY None")[0].startswith(b"d NO [NONEXISTENT]")
    assert ann.command(b"e RESETKEY shared/bob/Work")[0].startswith(b"e NO [NONEXISTENT]")


def test_rename_and_back(mail: SharedMail) -> None:
    ann, bob = mail.client("ann", URLS), mail.client("bob", URLS)
    url = authorized(ann, SERVER + b"/Work/;uid=1;urlauth=authuser")
    ann.command(b"a RENAME Work Play")
    assert told(bob, url) is None
    # Another mailbox of that name is another one.
    ann.command(b"b CREATE Work")
    append(ann, b"Work", b"not for bob")
    assert told(bob, url) is None
    ann.command(b"c DELETE Work")
    ann.command(b"d RENAME Play Work")
    assert told(bob, url)


def test_delete(mail: SharedMail) -> None:
    ann, bob = mail.client("ann", URLS), mail.client("bob", URLS)
    url = authorized(ann, SERVER + b"/Work/;uid=1;urlauth=authuser")
    ann.command(b"a DELETE Work")
    assert told(bob, url) is None
    ann.command(b"b CREATE Work")
    append(ann, b"Work", b"not for bob")
    assert told(bob, url) is None
    authorized(ann, SERVER + b"/Work/;uid=1;urlauth=authuser")
    assert told(bob, url) is None


def test_another_mailbox_that_has_the_key_is_another_one(mail: SharedMail) -> None:
    """As where a program without our lock has removed a folder and made it anew: UIDs begin again."""
    ann, bob = mail.client("ann", URLS), mail.client("bob", URLS)
    url = authorized(ann, SERVER + b"/Work/;uid=1;urlauth=authuser")
    account = mail.accounts["ann"]
    key = account.url_keys.make("Work")
    ann.command(b"a DELETE Work")
    ann.command(b"b CREATE Work")
    append(ann, b"Work", b"not for bob")
    file = Path(account.root.decode()) / "maildir-imapd.urlauth"
    file.write_bytes(b"maildir-imapd urlauth 1\nWork\t%b\n" % key.hex().encode())
    assert account.url_keys.find("Work") == key
    assert told(bob, url) is None


def test_expire(mail: SharedMail) -> None:
    ann, bob = mail.client("ann", URLS), mail.client("bob", URLS)
    now = [1_800_000_000.0]  # 2027-01-15T08:00:00Z
    bob.session.clock = lambda: now[0]
    url = authorized(
        ann, SERVER + b"/INBOX/;uid=1;expire=2027-01-15T09:00:00%2B01:00;urlauth=authuser".replace(b"%2B", b"+")
    )
    assert told(bob, url)
    now[0] += 1
    assert told(bob, url) is None


def test_expunge(mail: SharedMail) -> None:
    ann, bob = mail.client("ann", URLS), mail.client("bob", URLS)
    url = authorized(ann, SERVER + b"/INBOX/;uid=1;urlauth=authuser")
    ann.command(b"a SELECT INBOX")
    ann.command(b"b STORE 1 +FLAGS \\Deleted")
    assert told(bob, url)
    ann.command(b"c EXPUNGE")
    assert told(bob, url) is None


def test_each_octet_of_a_url_counts(mail: SharedMail) -> None:
    """However it is altered, nothing is read by it; but for the case of the mechanism, which has none (RFC 4467 9)."""
    ann, bob = mail.client("ann", URLS), mail.client("bob", URLS)
    append(ann, b"INBOX", b"another one")
    rump = SERVER + b":143/INBOX/;UID=1/;SECTION=TEXT/;PARTIAL=0.2000;EXPIRE=2999-01-01T00:00:00Z;URLAUTH=user+bob"
    url = authorized(ann, rump)
    assert told(bob, url) == b"of ann\r\n"
    altered = set()
    for place, octet in enumerate(url):
        for other in (octet ^ 1, octet ^ 0x20, ord("0"), ord("a"), ord("%")):
            if 0x20 < other < 0x7F and other not in b'"\\':
                altered.add(url[:place] + bytes([other]) + url[place + 1 :])
        altered.add(url[:place] + url[place + 1 :])
        altered.add(url[:place] + bytes([octet]) + url[place:])
    for text in altered - {url}:
        if text.replace(text[len(rump) :][:10], text[len(rump) :][:10].lower()) != url:
            assert told(bob, text) is None, text
    assert told(bob, url) == b"of ann\r\n"
    assert told(bob, rump + b":INTERNAL:" + url.rpartition(b":")[2]) == b"of ann\r\n"


# --- mail that is not one's own -----------------------------------------------------------------------


def test_a_key_is_of_a_user_and_a_mailbox(mail: SharedMail) -> None:
    """Two who share a mailbox have two keys, and each only as long as he may read."""
    ann, bob = mail.client("ann", URLS), mail.client("bob", URLS)
    ann.command(b"a SETACL Work bob lr")
    mail.share("ann", "bob")
    carol = mail.client("carol", URLS)
    own = authorized(ann, SERVER + b"/Work/;uid=1/;section=TEXT;urlauth=submit+x")
    shared = authorized(bob, b"imap://bob@mail.example.org/shared/ann/Work/;uid=1/;section=TEXT;urlauth=submit+x")
    assert told(carol, own) == told(carol, shared) == b"of ann\r\n"
    assert mail.accounts["ann"].url_keys.find("Work") != mail.accounts["bob"].url_keys.find("shared/ann/Work")
    assert mail.reached == ["ann", "bob"]
    # "It grants whatever access is held by the userid in the server component" (RFC 4467 7).
    ann.command(b"b DELETEACL Work bob")
    assert told(carol, shared) is None
    assert told(carol, own)
    ann.command(b"c SETACL Work bob l")
    assert told(carol, shared) is None
    ann.command(b"d SETACL Work bob lr")
    assert told(carol, shared)
    ann.command(b"e SETACL Work ann la")
    assert told(carol, own) is None
    ann.command(b"f RESETKEY")
    assert told(carol, shared)


def test_another_name_of_the_same_mailbox_has_the_same_key(mail: SharedMail) -> None:
    ann, bob = mail.client("ann", URLS), mail.client("bob", URLS)
    url = authorized(ann, SERVER + b"/INBOX/Work/;uid=1;urlauth=authuser")
    assert told(bob, url)
    ann.command(b"a RESETKEY Work")
    assert told(bob, url) is None


def test_a_token_is_no_other_one(mail: SharedMail) -> None:
    session: Session = mail.client("ann", URLS).session
    key = b"k" * 32
    token = urlauth.token_of(key, 7, b"rump")
    assert token.startswith(b"0100000007")
    assert len({token, *(urlauth.token_of(*made) for made in ((b"l" * 32, 7, b"rump"), (key, 8, b"rump")))}) == 3
    assert urlauth.key_name(session, "Work") == "Work"
    assert isinstance(session.account.branch, Branch)
