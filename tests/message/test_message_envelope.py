import pytest

from maildir_imapd.message.envelope import render_envelope


def test_rfc3501_section_8() -> None:
    header = (
        b"Date: Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\r\n"
        b"From: Terry Gray <gray@cac.washington.edu>\r\n"
        b"Subject: IMAP4rev1 WG mtg summary and minutes\r\n"
        b"To: imap@cac.washington.edu\r\n"
        b"cc: minutes@CNRI.Reston.VA.US, John Klensin <KLENSIN@MIT.EDU>\r\n"
        b"Message-Id: <B27397-0100000@cac.washington.edu>\r\n"
        b"MIME-Version: 1.0\r\n"
        b"Content-Type: TEXT/PLAIN; CHARSET=US-ASCII\r\n\r\n"
    )
    assert render_envelope(header) == (
        b'("Wed, 17 Jul 1996 02:23:25 -0700 (PDT)" "IMAP4rev1 WG mtg summary and minutes" '
        b'(("Terry Gray" NIL "gray" "cac.washington.edu")) (("Terry Gray" NIL "gray" "cac.washington.edu")) '
        b'(("Terry Gray" NIL "gray" "cac.washington.edu")) ((NIL NIL "imap" "cac.washington.edu")) '
        b'((NIL NIL "minutes" "CNRI.Reston.VA.US")("John Klensin" NIL "KLENSIN" "MIT.EDU")) NIL NIL '
        b'"<B27397-0100000@cac.washington.edu>")'
    )


GROUP_END = b"(NIL NIL NIL NIL)"
NOTHING = b"(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)"


@pytest.mark.parametrize(
    ("header", "rendered"),
    [
        (b"", NOTHING),
        (b"\r\n", NOTHING),
        # "if these header lines are present but empty the corresponding member of the envelope is the empty string"
        (b"Subject:\r\nDate: \r\nMessage-ID:\r\nIn-Reply-To:\r\n", b'("" "" NIL NIL NIL NIL NIL NIL "" "")'),
        # "or are present but empty, the corresponding member of the envelope is NIL"
        (b"From:\r\nTo: ,\r\nCc:\r\nBcc:\r\n", NOTHING),
        # "If the Sender or Reply-To lines are absent ..., or are present but empty ... the same value as the from"
        (
            b"From: a@b\r\nSender:\r\nReply-To: (x)\r\n",
            b'(NIL NIL ((NIL NIL "a" "b")) ((NIL NIL "a" "b")) ((NIL NIL "a" "b")) NIL NIL NIL NIL NIL)',
        ),
        (
            b"From: a@b\r\nSender: c@d\r\nReply-To: e@f\r\n",
            b'(NIL NIL ((NIL NIL "a" "b")) ((NIL NIL "c" "d")) ((NIL NIL "e" "f")) NIL NIL NIL NIL NIL)',
        ),
        (b"Sender: c@d\r\n", b'(NIL NIL NIL ((NIL NIL "c" "d")) NIL NIL NIL NIL NIL NIL)'),
        # a group: RFC 3501 7.4.2, host NIL
        (
            b"To: G:a@b;\r\n",
            b'(NIL NIL NIL NIL NIL ((NIL NIL "G" NIL)(NIL NIL "a" "b")(NIL NIL NIL NIL)) NIL NIL NIL NIL)',
        ),
        # strings that quoted cannot carry
        (b"Subject: \xe4\r\n", b"(NIL {1}\r\n\xe4 NIL NIL NIL NIL NIL NIL NIL NIL)"),
        (b"Subject: a\rb\r\n", b"(NIL {3}\r\na\rb NIL NIL NIL NIL NIL NIL NIL NIL)"),
        (b"Subject: a\0b\r\n", b"(NIL {3}\r\na\x80b NIL NIL NIL NIL NIL NIL NIL NIL)"),
        (b'Subject: a "b" \\c\r\n', b'(NIL "a \\"b\\" \\\\c" NIL NIL NIL NIL NIL NIL NIL NIL)'),
        (b"Subject: =?utf-8?q?x?=\r\n", b'(NIL "=?utf-8?q?x?=" NIL NIL NIL NIL NIL NIL NIL NIL)'),
        # twice
        (
            b"Subject: one\r\nsubject: two\r\nTo: a@b\r\nTo:\r\nTo: c@d\r\n",
            b'(NIL "one" NIL NIL NIL ((NIL NIL "a" "b")(NIL NIL "c" "d")) NIL NIL NIL NIL)',
        ),
        # each for itself: what is open in one swallows nothing of the next
        (
            b"To: a@b (open\r\nTo: c@d\r\n",
            b'(NIL NIL NIL NIL NIL (("open" NIL "a" "b")(NIL NIL "c" "d")) NIL NIL NIL NIL)',
        ),
        (
            b'To: "open <a@b>\r\nTo: "X" <c@d>\r\n',
            b'(NIL NIL NIL NIL NIL (("open" NIL "a" "b")("X" NIL "c" "d")) NIL NIL NIL NIL)',
        ),
        (
            b"To: <a@b\r\nTo: G: c@d\r\n",
            b'(NIL NIL NIL NIL NIL ((NIL NIL "a" "b")(NIL NIL "G" NIL)(NIL NIL "c" "d")%b) NIL NIL NIL NIL)'
            % GROUP_END,
        ),
        (
            b"From: a@b\r\nSender:\r\nSender: (x)\r\n",
            b'(NIL NIL ((NIL NIL "a" "b")) ((NIL NIL "a" "b")) ((NIL NIL "a" "b")) NIL NIL NIL NIL NIL)',
        ),
        # spelled oddly
        (b"SUBJECT : x\r\nX-Subject: y\r\n Subject: z\r\n", b'(NIL "x" NIL NIL NIL NIL NIL NIL NIL NIL)'),
    ],
)
def test_render_envelope(header: bytes, rendered: bytes) -> None:
    assert render_envelope(header) == rendered


def test_long_lists_are_the_same_with_and_without_memory() -> None:
    short = render_envelope(b"To: " + b", ".join([b"a@b"] * 2) + b"\r\n")
    long = render_envelope(b"To: " + b", ".join([b"a@b"] * 200) + b"\r\n")
    assert long == short.replace(b'(NIL NIL "a" "b")' * 2, b'(NIL NIL "a" "b")' * 200)
