"""Dialogues of LMTP in memory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maildir_imapd.lmtp.answers import STORED, UNKNOWN_USER, Answer, RecipientRefused
from maildir_imapd.lmtp.commands import EnvelopeAddress, MailFrom
from maildir_imapd.lmtp.dialogue import MISTAKES, Envelope, LmtpDialogue, LmtpPolicy


class Message:
    """As ``Incoming``: keeps what it takes, and says how it ended."""

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self.data = b""
        self.put: list[str] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.data += data

    def finish(self) -> Iterator[Answer]:
        for name in self.names:
            assert not self.closed
            self.put.append(name)
            yield STORED

    def close(self) -> None:
        self.closed = True


class Server:
    """A dialogue whose answers are kept."""

    def __init__(self, octets: int = 1000, recipients: int = 3) -> None:
        self.said = b""
        self.messages: list[Message] = []
        self.dialogue = LmtpDialogue(LmtpPolicy("host", octets, recipients), self, self._say)

    def _say(self, data: bytes) -> None:
        self.said += data

    def recipient(self, address: EnvelopeAddress, mail: MailFrom) -> str:
        if address.local == b"nobody":
            raise RecipientRefused(UNKNOWN_USER)
        return address.plain.decode()

    def begin(self, envelope: Envelope[str]) -> Message:
        self.messages.append(Message(list(envelope.recipients)))
        return self.messages[-1]

    def talk(self, data: bytes) -> list[int]:
        """Send; the codes of the answers, a line each."""
        self.said = b""
        self.dialogue.feed(data)
        assert not self.said or self.said.endswith(b"\r\n")
        return [int(line[:3]) for line in self.said.split(b"\r\n") if line and line[3:4] == b" "]

    def begun(self, *names: str) -> Server:
        """With a transaction for these recipients."""
        sent = "LHLO x\r\nMAIL FROM:<a@b>\r\n" + "".join(f"RCPT TO:<{name}>\r\n" for name in names)
        self.talk(sent.encode())
        return self

    @property
    def stored(self) -> list[tuple[bytes, list[str]]]:
        return [(each.data, each.put) for each in self.messages if each.put]


def test_a_message() -> None:
    server = Server()
    server.dialogue.greet()
    assert server.said == b"220 host LMTP ready\r\n"
    assert server.talk(b"LHLO client\r\n") == [250]
    assert server.said.split(b"\r\n")[1:-2] == [
        b"250-PIPELINING",
        b"250-SIZE 1000",
        b"250-8BITMIME",
        b"250-ENHANCEDSTATUSCODES",
        b"250-SMTPUTF8",
    ]
    assert server.talk(b"MAIL FROM:<a@b>\r\nRCPT TO:<ann>\r\nRCPT TO:<nobody>\r\nRCPT TO:<ben@x>\r\nDATA\r\n") == [
        *(250, 250, 550, 250),
        354,
    ]
    # One answer for each recipient that was accepted (RFC 2033 4.2).
    assert server.talk(b"Subject: x\r\n\r\n..\r\n.\r\nNOOP\r\n") == [250, 250, 250]
    assert server.stored == [(b"Subject: x\r\n\r\n.\r\n", ["ann", "ben@x"])]
    assert server.messages[0].closed
    assert server.talk(b"QUIT\r\nNOOP\r\n") == [221]
    assert server.dialogue.over


@pytest.mark.parametrize(
    ("sent", "codes"),
    [
        (b"MAIL FROM:<a@b>\r\n", [503]),
        (b"RCPT TO:<a>\r\nDATA\r\n", [503, 503]),
        (b"LHLO x\r\nMAIL FROM:<>\r\nMAIL FROM:<>\r\n", [250, 250, 503]),
        (b"LHLO x\r\nMAIL FROM:<>\r\nDATA\r\n", [250, 250, 503]),
        (b"LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<nobody>\r\nDATA\r\n", [250, 250, 550, 503]),
        (b"LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a>\r\nRSET\r\nDATA\r\n", [250, 250, 250, 250, 503]),
        (b"LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a>\r\nLHLO x\r\nDATA\r\n", [250, 250, 250, 250, 503]),
        (b"LHLO x\r\nMAIL FROM:<> SIZE=1001\r\nRCPT TO:<a>\r\n", [250, 552, 503]),
        (b"LHLO x\r\nMAIL FROM:<>\r\n" + b"RCPT TO:<a>\r\n" * 5, [250, 250, 250, 250, 250, 452, 452]),
        (b"LHLO x\r\nMAIL FROM:<>\r\n" + "RCPT TO:<ä>\r\n".encode(), [250, 250, 553]),
        (b"VRFY a\r\nHELP\r\nEHLO x\r\n", [252, 500, 500]),
    ],
)
def test_out_of_order(sent: bytes, codes: list[int]) -> None:
    server = Server()
    assert server.talk(sent) == codes
    assert not server.messages


def test_chunks() -> None:
    server = Server().begun("a", "b")
    assert server.talk(b"BDAT 6\r\n.\r\n.\r\nBDAT 0\r\n") == [250, 250]
    # In the middle of chunks there is no DATA, and no other recipient (RFC 3030 2).
    assert server.talk(b"DATA\r\nRCPT TO:<c>\r\n") == [503, 503]
    assert server.talk(b"BDAT 3 LAST\r\nabcRSET\r\n") == [250, 250, 250]
    assert server.stored == [(b".\r\n.\r\nabc", ["a", "b"])]
    assert server.talk(b"BDAT 6 LAST\r\nQUIT\r\nNOOP\r\n") == [503, 250], "octets of a chunk are no commands"
    assert server.talk(b"MAIL FROM:<>\r\nBDAT 6\r\nQUIT\r\n") == [250, 503]
    assert server.talk(b"RSET\r\nBDAT x\r\nMAIL FROM:<evil>\r\n") == [250, 501]
    assert server.dialogue.over


def test_reset_between_chunks_leaves_nothing() -> None:
    server = Server().begun("a")
    assert server.talk(b"BDAT 3\r\nabcRSET\r\nMAIL FROM:<>\r\nRCPT TO:<a>\r\nDATA\r\n") == [250, 250, 250, 250, 354]
    assert server.messages[0].closed
    assert not server.messages[0].put
    assert server.talk(b".\r\n") == [250]
    assert server.stored == [(b"", ["a"])]


@pytest.mark.parametrize("how", ["data", "chunks"])
def test_too_large(how: str) -> None:
    server = Server(octets=100).begun("a", "b")
    if how == "data":
        assert server.talk(b"DATA\r\n" + b"x" * 150 + b"\r\n.\r\nNOOP\r\n") == [354, 552, 552, 250]
    else:
        assert server.talk(b"BDAT 150\r\n" + b"x" * 150) == [552]
        assert server.talk(b"BDAT 2 LAST\r\nxxNOOP\r\n") == [552, 552, 250]
    assert server.messages[0].closed
    assert not server.stored
    assert server.begun("a").talk(b"DATA\r\nx\r\n.\r\n") == [354, 250]


@pytest.mark.parametrize("command", [b"DATA\r\n", b"BDAT 100000 LAST\r\n"])
def test_what_never_ends_is_not_listened_to(command: bytes) -> None:
    server = Server(octets=100).begun("a")
    server.talk(command)
    server.talk(b"x" * 1000)
    assert server.dialogue.over
    assert server.said.startswith(b"421 5.3.4 ")


def test_a_chunk_for_nobody_has_an_end_too() -> None:
    server = Server(octets=100)
    assert server.talk(b"BDAT 999999999999999999\r\n") == [552]
    assert server.dialogue.over


def test_somebody_who_speaks_no_lmtp() -> None:
    server = Server()
    codes = server.talk(b"GET / HTTP/1.1\r\nHost: x\r\n" * MISTAKES)
    assert codes == [500] * MISTAKES + [421]
    assert server.dialogue.over
    server = Server()
    assert server.talk(b"GET / HTTP/1.1\n") == [500]
    assert server.dialogue.over


def test_text_behind_data_that_was_refused() -> None:
    """A client that does not wait for 354 has its text taken for commands, and is sent away soon."""
    server = Server().begun("nobody")
    text = b"DATA\r\n" + b"text of a message\r\n" * 100 + b".\r\n"
    assert server.talk(text)[-1] == 421
    assert not server.messages
    assert server.dialogue.over


def test_a_connection_that_breaks() -> None:
    for sent in (b"DATA\r\nhalf", b"DATA\r\nall\r\n.", b"BDAT 10 LAST\r\nhalf", b"BDAT 4\r\nhalf"):
        server = Server().begun("a")
        server.talk(sent)
        server.dialogue.close()
        assert [message.closed for message in server.messages] == [True]
        assert not server.stored


def test_leaving() -> None:
    server = Server().begun("a")
    server.talk(b"DATA\r\nhalf")
    server.said = b""
    server.dialogue.leave()
    assert server.said.startswith(b"421 4.3.2 ")
    assert not server.stored
    # Between two messages nothing more is begun.
    server = Server().begun("a")
    server.said = b""
    server.dialogue.feed(b"NOOP\r\n", lambda: True)
    assert server.said == b""


SCRIPT = (
    b"LHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<a>\r\nRCPT TO:<nobody>\r\nRCPT TO:<b>\r\nDATA\r\n"
    b"t\n.\n\r\n..\r\n\n.\r\n\r\n"
    b".\r\nMAIL FROM:<>\r\nRCPT TO:<c>\r\nBDAT 4\r\n\r\n.\rBDAT 3 LAST\r\nend"
    b"MAIL FROM:<>\r\nRCPT TO:<c>\r\nDATA\r\n.\r\nQUIT\r\n"
)


@given(st.lists(st.integers(0, len(SCRIPT)), max_size=20))
def test_however_it_comes(cuts: list[int]) -> None:
    whole = Server()
    whole.dialogue.feed(SCRIPT)
    server = Server()
    for a, b in zip([0, *sorted(cuts)], [*sorted(cuts), len(SCRIPT)], strict=True):
        server.dialogue.feed(SCRIPT[a:b])
    assert server.said == whole.said
    assert (
        server.stored
        == whole.stored
        == [
            (b"t\n.\n\r\n.\r\n\n.\r\n\r\n", ["a", "b"]),
            (b"\r\n.\rend", ["c"]),
            (b"", ["c"]),
        ]
    )


WORDS = [
    *(b"LHLO x\r\n", b"MAIL FROM:<a@b>\r\n", b"RCPT TO:<a>\r\n", b"RCPT TO:<nobody>\r\n", b"DATA\r\n", b"RSET\r\n"),
    *(b".\r\n", b"\r\n", b"\n", b"\r", b".", b"BDAT 5\r\n", b"BDAT 3 LAST\r\n", b"text", b"\0", b"QUIT\r\n", b"x\r\n"),
]


@settings(max_examples=400)
@given(st.lists(st.sampled_from(WORDS), max_size=40))
def test_whatever_comes_each_message_ends_in_one_way(words: list[bytes]) -> None:
    server = Server(octets=50)
    for word in words:
        server.dialogue.feed(word)
    server.dialogue.close()
    for message in server.messages:
        assert message.closed
        assert message.put in ([], message.names)
    # Nothing is answered that is no line with a code and an enhanced one, but the greeting, LHLO and 354.
    for line in server.said.split(b"\r\n")[:-1]:
        assert line[:3].isdigit()
        assert line[4:5] == line[:1] or line.startswith((b"250-", b"250 CHUNKING", b"354 ")) or line[:1] == b"4"
