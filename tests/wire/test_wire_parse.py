"""The table of commands and the short ones: (octets, value), and what is wrong with the rest."""

from __future__ import annotations

import pytest
from blanks import spread

from maildir_imapd.errors import BadSyntax, UnknownCommand
from maildir_imapd.wire import commands as c
from maildir_imapd.wire.buffer import Frame
from maildir_imapd.wire.numbers import NumberSet
from maildir_imapd.wire.parse import BARE, PARSERS, UID_PARSERS, parse, peek_command, peek_tag


def one(number: int) -> NumberSet:
    return NumberSet(((number, number),))


T = b"a"

GOOD: list[tuple[bytes, c.Command]] = [
    (b"CAPABILITY", c.Capability(T)),
    (b"noop", c.Noop(T)),
    (b"NoOp ", c.Noop(T)),
    (b"LOGOUT", c.Logout(T)),
    (b"STARTTLS", c.StartTls(T)),
    (b"CHECK", c.Check(T)),
    (b"CLOSE", c.Close(T)),
    (b"EXPUNGE", c.Expunge(T)),
    (b"UNSELECT", c.Unselect(T)),
    (b"IDLE", c.Idle(T)),
    (b"NAMESPACE", c.Namespace(T)),
    (b"UNAUTHENTICATE", c.Unauthenticate(T)),
    (b"UID EXPUNGE 3:*", c.Expunge(T, NumberSet(((3, 0),)))),
    (b"uid expunge $", c.Expunge(T, NumberSet((), saved=True))),
    # RFC 2971
    (b"ID NIL", c.Id(T, None)),
    (b"ID nil", c.Id(T, None)),
    (b"ID ()", c.Id(T, ())),
    (b'ID ("name" "x" "os" NIL)', c.Id(T, ((b"name", b"x"), (b"os", None)))),
    (b'ID ("name" {3}\r\na)")', c.Id(T, ((b"name", b'a)"'),))),
    # RFC 4959
    (b"AUTHENTICATE plain", c.Authenticate(T, b"PLAIN")),
    (b"AUTHENTICATE PLAIN =", c.Authenticate(T, b"PLAIN", b"")),
    (b"AUTHENTICATE PLAIN AGEAYg==", c.Authenticate(T, b"PLAIN", b"\0a\0b")),
    (b"AUTHENTICATE SCRAM-SHA-256 YWJj ", c.Authenticate(T, b"SCRAM-SHA-256", b"abc")),
    (b"LOGIN foo bar", c.Login(T, b"foo", b"bar")),
    (b'LOGIN "f\\"o\\\\o" ""', c.Login(T, b'f"o\\o', b"")),
    (b"LOGIN {3}\r\nf\r\n {4+}\r\n)(*%", c.Login(T, b"f\r\n", b")(*%")),
    (b'LOGIN a]b "\xc3\xa4"', c.Login(T, b"a]b", b"\xc3\xa4")),
    (b"LOGIN nil NIL", c.Login(T, b"nil", b"NIL")),
    (b"ENABLE CondStore UTF8=ACCEPT x", c.Enable(T, (b"CONDSTORE", b"UTF8=ACCEPT", b"X"))),
    (b"COMPRESS deflate", c.Compress(T, b"DEFLATE")),
    # SELECT
    (b"SELECT box", c.Select(T, b"box")),
    (b"select inbox", c.Select(T, b"INBOX")),
    (b'select "iNbOx"', c.Select(T, b"INBOX")),
    (b"select {5}\r\ninbox", c.Select(T, b"INBOX")),
    (b'SELECT "inbox/x"', c.Select(T, b"inbox/x")),
    (b"EXAMINE &AOQ-", c.Select(T, b"&AOQ-", read_only=True)),
    (b"SELECT box (CONDSTORE)", c.Select(T, b"box", condstore=True)),
    (
        b"SELECT box (qresync (67890007 20050715194045000 41,43:211,214:541))",
        c.Select(
            T, b"box", qresync=c.QResync(67890007, 20050715194045000, NumberSet(((41, 41), (43, 211), (214, 541))))
        ),
    ),
    (
        b"SELECT box (QRESYNC (1 0 (1:2 3:4)) CONDSTORE)",
        c.Select(
            T,
            b"box",
            condstore=True,
            qresync=c.QResync(1, 0, None, NumberSet(((1, 2),)), NumberSet(((3, 4),))),
        ),
    ),
    (
        b"EXAMINE box (QRESYNC (1 2 9 (1 3)))",
        c.Select(T, b"box", read_only=True, qresync=c.QResync(1, 2, one(9), one(1), one(3))),
    ),
    # mailboxes
    (b"CREATE a/b", c.Create(T, b"a/b")),
    (b'CREATE "My Drafts" (USE (\\Drafts \\X))', c.Create(T, b"My Drafts", (b"\\Drafts", b"\\X"))),
    (b"CREATE x (use ())", c.Create(T, b"x")),
    (b"DELETE x", c.Delete(T, b"x")),
    (b"RENAME inbox old", c.Rename(T, b"INBOX", b"old")),
    (b"UIDBATCHES 2000", c.UidBatches(T, 2000)),
    (b"uidbatches 500 10:20", c.UidBatches(T, 500, (10, 20))),
    (b"SUBSCRIBE x", c.Subscribe(T, b"x")),
    (b'UNSUBSCRIBE "x y"', c.Unsubscribe(T, b"x y")),
    (b"GETQUOTAROOT INBOX", c.GetQuotaRoot(T, b"INBOX")),
    (b"GETACL x", c.GetAcl(T, b"x")),
    (b"MYRIGHTS x", c.MyRights(T, b"x")),
    # COPY, MOVE
    (b"COPY 2:4 MEETING", c.Copy(T, NumberSet(((2, 4),)), b"MEETING")),
    (b"uid copy 1 x", c.Copy(T, one(1), b"x", uid=True)),
    (b"MOVE * x", c.Copy(T, one(0), b"x", move=True)),
    (b"UID MOVE $ {1}\r\nx", c.Copy(T, NumberSet((), saved=True), b"x", uid=True, move=True)),
    # STORE
    (b"STORE 2:4 +FLAGS (\\Deleted)", c.Store(T, NumberSet(((2, 4),)), b"+", (b"\\Deleted",))),
    (b"STORE 1 +Flags (\\DELETED)", c.Store(T, one(1), b"+", (b"\\Deleted",))),
    (b"uid store 121 -flags.silent (\\seen $label1)", c.Store(T, one(121), b"-", (b"\\Seen", b"$label1"), True, True)),
    (b"STORE 1 FLAGS ()", c.Store(T, one(1), b"", ())),
    (b"STORE 1 FLAGS \\Seen \\Foo KeyWord", c.Store(T, one(1), b"", (b"\\Seen", b"\\Foo", b"KeyWord"))),
    (b"STORE 1 FLAGS.SILENT \\Draft ", c.Store(T, one(1), b"", (b"\\Draft",), True)),
    (
        b"UID STORE 6 (UNCHANGEDSINCE 320162338) +FLAGS.SILENT (\\Flagged)",
        c.Store(T, one(6), b"+", (b"\\Flagged",), True, True, 320162338),
    ),
    (b"STORE 1 (unchangedsince 0) FLAGS (\\Answered)", c.Store(T, one(1), b"", (b"\\Answered",), unchanged_since=0)),
    # RFC 9208
    (b'GETQUOTA ""', c.GetQuota(T, b"")),
    (
        b'SETQUOTA "" (STORAGE 512 message 9223372036854775807)',
        c.SetQuota(T, b"", ((b"STORAGE", 512), (b"MESSAGE", (1 << 63) - 1))),
    ),
    (b'SETQUOTA "#user" ()', c.SetQuota(T, b"#user", ())),
    # RFC 4314
    (b"SETACL INBOX fred +rwipsldexta", c.SetAcl(T, b"INBOX", b"fred", b"+rwipsldexta")),
    (b'SETACL x -fred ""', c.SetAcl(T, b"x", b"-fred", b"")),
    (b"DELETEACL x fred", c.DeleteAcl(T, b"x", b"fred")),
    (b"LISTRIGHTS x fred", c.ListRights(T, b"x", b"fred")),
    # RFC 5464
    (b'GETMETADATA "" /shared/comment', c.GetMetadata(T, b"", (b"/shared/comment",))),
    (b"GETMETADATA INBOX (/shared/a /private/b)", c.GetMetadata(T, b"INBOX", (b"/shared/a", b"/private/b"))),
    (b'GETMETADATA x ("/shared/a" {4}\r\n/p/b)', c.GetMetadata(T, b"x", (b"/shared/a", b"/p/b"))),
    (b"GETMETADATA (MAXSIZE 1024 DEPTH infinity) x /p", c.GetMetadata(T, b"x", (b"/p",), 1024, -1)),
    (
        b'GETMETADATA "x" (DEPTH 1) (/private/filters/values)',
        c.GetMetadata(T, b"x", (b"/private/filters/values",), None, 1),
    ),
    (b'GETMETADATA "x" (MAXSIZE 0) /a', c.GetMetadata(T, b"x", (b"/a",), 0)),
    (
        b'SETMETADATA x (/a "v" /b NIL /c {2}\r\nhi /d ~{3+}\r\n\0\r\n)',
        c.SetMetadata(T, b"x", ((b"/a", b"v"), (b"/b", None), (b"/c", b"hi"), (b"/d", b"\0\r\n"))),
    ),
    # RFC 5255
    (b"LANGUAGE", c.Language(T, ())),
    (b'LANGUAGE "de" fr i-default', c.Language(T, (b"de", b"fr", b"i-default"))),
    (b"COMPARATOR", c.Comparator(T, ())),
    (b'COMPARATOR "cz;*" i;basic', c.Comparator(T, (b"cz;*", b"i;basic"))),
    # RFC 5267
    (b'CANCELUPDATE "a1" "a2"', c.CancelUpdate(T, (b"a1", b"a2"))),
    # RFC 4467, RFC 5524
    (b"RESETKEY", c.ResetKey(T)),
    (b"RESETKEY ", c.ResetKey(T)),
    (b"resetkey inbox", c.ResetKey(T, b"INBOX")),
    (b'RESETKEY "a b" internal XSAMPLE', c.ResetKey(T, b"a b", (b"INTERNAL", b"XSAMPLE"))),
    (b'GENURLAUTH "imap://a" Internal', c.GenUrlAuth(T, ((b"imap://a", b"INTERNAL"),))),
    (b"GENURLAUTH a INTERNAL {1}\r\nb x", c.GenUrlAuth(T, ((b"a", b"INTERNAL"), (b"b", b"X")))),
    (b"URLFETCH a", c.UrlFetch(T, ((b"a", ()),))),
    (b"URLFETCH (a)", c.UrlFetch(T, ((b"a", ()),))),
    (
        b'urlfetch a ("b" Binary bodypartstructure) (c BODY)',
        c.UrlFetch(T, ((b"a", ()), (b"b", (b"BINARY", b"BODYPARTSTRUCTURE")), (b"c", (b"BODY",)))),
    ),
]


@pytest.mark.parametrize(("text", "expected"), GOOD)
def test_good(text: bytes, expected: c.Command) -> None:
    assert parse(Frame(b"a " + text)) == expected
    assert parse(Frame(b"a " + spread(text))) == expected


# (octets, what is expected, where, counted from the name of the command)
BAD: list[tuple[bytes, str, int]] = [
    (b"NOOP x", "the end of the command", 4),
    (b"NOOP\t", "the end of the command", 4),
    (b"NOOP\0", "the end of the command", 4),
    (b"NOOP\r", "the end of the command", 4),
    (b"NOOP {1}\r\nx", "the end of the command", 4),
    (b"EXPUNGE 1", "the end of the command", 7),
    (b"UID EXPUNGE", "a space", 11),
    (b"UID EXPUNGE ", "a sequence set", 12),
    (b"ID", "a space", 2),
    (b"ID ", '"("', 3),
    (b"ID (name x)", "a string", 4),
    (b'ID ("name")', "a space", 10),
    (b'ID ("name" x)', "a string or NIL", 11),
    (b"AUTHENTICATE", "a space", 12),
    (b"AUTHENTICATE PLAIN AGEAYg=", "base64", 19),
    (b"AUTHENTICATE PLAIN AGEAYg", "base64", 19),
    (b"AUTHENTICATE PLAIN AG!AYg==", "base64", 19),
    (b"AUTHENTICATE PLAIN ==", "base64", 19),
    (b"AUTHENTICATE PLAIN YWJj YWJj", "base64", 19),
    (b"LOGIN foo", "a space", 9),
    (b"LOGIN foo bar baz", "the end of the command", 13),
    (b'LOGIN foo "bar', "an atom or a string", 10),
    (b'LOGIN foo "b\\ar"', "an atom or a string", 10),
    (b'LOGIN foo "b\0r"', "an atom or a string", 10),
    (b'LOGIN foo "b\rr"', "an atom or a string", 10),
    (b"LOGIN foo b\xe4r", "the end of the command", 11),
    (b'LOGIN foo "bar"x', "the end of the command", 15),
    (b"LOGIN foo (bar)", "an atom or a string", 10),
    (b"LOGIN foo {3}\r\nb\0r", "a literal without NUL", 15),
    (b"LOGIN foo ~{3}\r\nbar", "the end of the command", 11),
    (b"LOGIN foo {9}\r\nbar", "an atom or a string", 10),
    (b"LOGIN foo {3}bar", "an atom or a string", 10),
    (b"ENABLE", "a space", 6),
    (b"COMPRESS", "a space", 8),
    (b"SELECT", "a space", 6),
    (b"SELECT ", "a mailbox name", 7),
    (b"SELECT x y", '"("', 9),
    (b"SELECT x%", "a space", 8),
    (b"SELECT a{1}\r\nb", "a space", 8),
    (b"SELECT x ()", "a SELECT parameter", 10),
    (b"SELECT x (FOO)", "a SELECT parameter", 10),
    (b"SELECT x (CONDSTORE FOO)", "a SELECT parameter", 20),
    (b"UIDBATCHES", "a space", 10),
    (b"UIDBATCHES 0", "a number from 1", 11),
    (b"UIDBATCHES 500 1", '":"', 16),
    (b"UIDBATCHES 500 1:*", "a number from 1", 17),
    (b"UIDBATCHES 500 1:2,3:4", "the end of the command", 18),
    (b"SELECT x (QRESYNC (0 1))", "a number from 1", 19),
    (b"SELECT x (QRESYNC (1))", "a space", 20),
    (b"SELECT x (QRESYNC (1 1 1:*))", "a set of UIDs without *", 23),
    (b"SELECT x (QRESYNC (1 1 $))", "a set of UIDs without *", 23),
    (b"SELECT x (QRESYNC (1 1 (1:* 2)))", "a sequence set without *", 24),
    (b"SELECT x (QRESYNC (1 1 1 (1)))", "a space", 27),
    (b"SELECT x (QRESYNC (1 1) QRESYNC (1 1))", "a SELECT parameter", 24),
    (b"SELECT x (QRESYNC (1 9223372036854775808))", "a mod-sequence", 21),
    (b"CREATE x (FOO)", "a CREATE parameter", 10),
    (b"CREATE x (USE (Drafts))", "a special-use attribute", 15),
    (b"CREATE x (USE (\\Drafts)) y", "the end of the command", 24),
    (b"RENAME x", "a space", 8),
    (b"RENAME x y (z)", "the end of the command", 10),
    (b"COPY 1", "a space", 6),
    (b"COPY 0 x", "a message number", 5),
    (b"COPY 1:,2 x", "a message number", 7),
    (b"COPY 1,4294967296 x", "a message number", 7),
    (b"COPY 12345678901 x", "a message number", 5),
    (b"COPY 1, x", "a message number", 7),
    (b"COPY x x", "a sequence set", 5),
    (b"COPY 1 x y", "the end of the command", 8),
    (b"STORE 1 FOO (x)", "FLAGS, +FLAGS or -FLAGS", 8),
    (b"STORE 1 FLAGS", "a space", 13),
    (b"STORE 1 FLAGS ", "a flag", 14),
    (b"STORE 1 FLAGS (\\Recent)", "a flag that can be set", 15),
    (b"STORE 1 FLAGS (\\*)", "a flag", 15),
    (b"STORE 1 FLAGS (a b", 'a space or ")"', 18),
    (b"STORE 1 FLAGS (a) b", "the end of the command", 17),
    (b"STORE 1 FLAGS (a]b)", 'a space or ")"', 16),
    (b'STORE 1 FLAGS ("a")', "a flag", 15),
    (b"STORE 1 (FOO 1) FLAGS (a)", "a STORE modifier", 9),
    (b"STORE 1 (UNCHANGEDSINCE x) FLAGS (a)", "a mod-sequence", 24),
    (b"STORE 1 (UNCHANGEDSINCE 1 UNCHANGEDSINCE 1) FLAGS (a)", '")"', 25),
    (b"SETQUOTA x (STORAGE -1)", "a number", 20),
    (b"SETQUOTA x STORAGE 1", '"("', 11),
    (b"SETACL x fred", "a space", 13),
    (b"GETMETADATA x", "a space", 13),
    (b"GETMETADATA x foo", "an entry name", 14),
    (b"GETMETADATA x /a/", "an entry name", 14),
    (b"GETMETADATA x /a//b", "an entry name", 14),
    (b'GETMETADATA x "/a*"', "an entry name", 14),
    (b'GETMETADATA x "/a\x01"', "an entry name", 14),
    (b"GETMETADATA x ()", "a GETMETADATA option", 15),
    (b"GETMETADATA (DEPTH 2) x /a", '"0", "1" or "infinity"', 19),
    (b"GETMETADATA (DEPTH 1 DEPTH 1) x /a", "a GETMETADATA option", 21),
    (b"SETMETADATA x ()", "an atom or a string", 15),
    (b"SETMETADATA x (/a b)", "a string or NIL", 18),
    (b"CANCELUPDATE a1", "a string", 13),
]


@pytest.mark.parametrize(("text", "expected", "position"), BAD)
def test_bad(text: bytes, expected: str, position: int) -> None:
    with pytest.raises(BadSyntax) as caught:
        parse(Frame(b"a " + text))
    assert (caught.value.expected, caught.value.position) == (expected, position + 2)


@pytest.mark.parametrize(
    "text", [b"", b" ", b" NOOP", b"+ NOOP", b"+", b"* NOOP", b"a+b NOOP", b"\0", b"{3}\r\nabc NOOP"]
)
def test_no_tag(text: bytes) -> None:
    with pytest.raises(BadSyntax) as caught:
        parse(Frame(text))
    assert not isinstance(caught.value, UnknownCommand)
    assert peek_tag(text) is None


@pytest.mark.parametrize("text", [b"a", b"a\tNOOP"])
def test_no_command(text: bytes) -> None:
    with pytest.raises(BadSyntax, match="Expected a space at position 1"):
        parse(Frame(text))


@pytest.mark.parametrize(
    "text",
    [
        b"a ",
        b"a FOO",
        b"a  NOOP",
        b"a NOOPX",
        b"a UID",
        b"a UID NOOP",
        b"a {4}\r\nNOOP",
        b"a XNOOP",
    ],
)
def test_unknown_command(text: bytes) -> None:
    with pytest.raises(UnknownCommand):
        parse(Frame(text))
    assert peek_tag(text) == b"a"


def test_peek() -> None:
    assert peek_tag(b"a1]. NOOP") == b"a1]."
    assert peek_tag(b"a1") == b"a1"
    assert peek_command(b"a uid append ") == (b"a", b"UID APPEND")
    assert peek_command(b"a Append box") == (b"a", b"APPEND")
    assert peek_command(b"a (") == (b"a", None)
    assert peek_command(b"(") == (None, None)


def test_the_error_is_for_people() -> None:
    with pytest.raises(BadSyntax, match=r"^Expected a space at position 8$"):
        parse(Frame(b"a SELECT"))
    with pytest.raises(UnknownCommand, match=r"^Unknown command$"):
        parse(Frame(b"a FOO"))


def test_secrets_are_not_printed() -> None:
    assert "hunter2" not in repr(parse(Frame(b"a LOGIN fred hunter2")))
    assert "hunter2" not in repr(parse(Frame(b"a AUTHENTICATE PLAIN AGZyZWQAaHVudGVyMg==")))


def test_no_command_is_in_two_tables() -> None:
    assert not BARE.keys() & PARSERS.keys()
    assert UID_PARSERS.keys() - PARSERS.keys() == {b"EXPUNGE"}


def test_every_value_has_a_parser() -> None:
    """What is in commands.py can be made from octets: each class appears in a table of the tests."""
    made = {type(value).__name__ for _, value in GOOD}
    elsewhere = {"Append", "Replace", "Fetch", "List", "Lsub", "Xlist", "Status", "Notify", "Search", "Sort", "Thread"}
    assert made | elsewhere == {command.__name__ for command in c.Command.__subclasses__()}
