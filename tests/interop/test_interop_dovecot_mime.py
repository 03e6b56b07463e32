"""Dovecot as a witness: what it says of the corpus and what we say.

Its ``imap`` program runs alone on a pipe, logged in already, over a Maildir that holds the corpus.  Where we
differ on purpose, ``DIFFERENT`` names the case and the sentence that decides it; such a case must differ, so
that the table stays true.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from dovecot import Dovecot

from maildir_imapd.errors import UnknownCte
from maildir_imapd.message import header, lines, mime, order, section, structure, text, thread
from maildir_imapd.message.envelope import render_envelope

CORPUS = Path(__file__).parent.parent / "corpus"
NAMES = sorted(path.stem for path in CORPUS.glob("*.eml"))
# the first message came in at this time, each other a day later
RECEIVED = 1_700_000_000

pytestmark = pytest.mark.interop

Value = bytes | int | None | list["Value"]

_ITEM = re.compile(rb'\(|\)|NIL\b|"((?:[^"\\]|\\.)*)"|~?\{([0-9]+)\}\r\n|[A-Z0-9.]*\[[^\]]*\]|[^\s()]+', re.DOTALL)


def read(wire: bytes) -> list[Value]:
    root: list[Value] = []
    stack = [root]
    at = 0
    while at < len(wire):
        if wire[at : at + 1] == b" ":
            at += 1
            continue
        match = _ITEM.match(wire, at)
        assert match is not None, wire[at : at + 80]
        at = match.end()
        if match[0] == b"(":
            inner: list[Value] = []
            stack[-1].append(inner)
            stack.append(inner)
        elif match[0] == b")":
            stack.pop()
        elif match[2] is not None:
            stack[-1].append(wire[at : at + int(match[2])])
            at += int(match[2])
        elif match[1] is not None:
            stack[-1].append(re.sub(rb"\\(.)", rb"\1", match[1]))
        elif match[0] == b"NIL":
            stack[-1].append(None)
        else:
            stack[-1].append(match[0])
    return root


class Witness:
    """Runs commands, all in one process each time."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.dovecot = Dovecot(home)

    def fill(self, messages: list[bytes]) -> None:
        for name in ("cur", "new", "tmp"):
            (self.home / "Maildir" / name).mkdir(parents=True)
        for number, raw in enumerate(messages):
            path = self.home / "Maildir" / "cur" / f"{1000 + number}.M{number}P1.host:2,S"
            path.write_bytes(raw)
            os.utime(path, (RECEIVED + number * 86400,) * 2)
        self.dovecot.own()

    def run(self, *commands: bytes) -> tuple[list[list[Value]], list[bytes]]:
        """Run *commands* with INBOX selected; give the untagged responses to them, and OK, NO or BAD for each."""
        sent = [b"A SELECT INBOX", *(b"B%d %b" % numbered for numbered in enumerate(commands)), b"C LOGOUT", b""]
        out = self.dovecot.converse(b"\r\n".join(sent))
        assert b"\r\nA OK" in out, self.dovecot.log()
        found: list[list[Value]] = []
        statuses: list[bytes] = []
        at = out.index(b"\r\n", out.index(b"\r\nA OK") + 2) + 2
        while at < len(out):
            end = at
            while True:
                end = out.index(b"\r\n", end) + 2
                literal = re.search(rb"\{([0-9]+)\}\r\n\Z", out[at:end])
                if literal is None:
                    break
                end += int(literal[1])
            line = out[at : end - 2]
            if line.startswith(b"* ") and not line.startswith((b"* BYE", b"* OK", b"* NO", b"* BAD")):
                found.append(read(line[2:]))
            elif not line.startswith(b"* "):
                statuses.append(line.split(b" ")[1])
            at = end
        return found, statuses[:-1]

    def fetch(self, items: bytes) -> dict[int, dict[bytes, Value]]:
        return dict(map(fetched, self.run(b"FETCH 1:* " + items)[0]))


def fetched(response: list[Value]) -> tuple[int, dict[bytes, Value]]:
    number, _, items = response
    assert isinstance(number, bytes)
    assert isinstance(items, list)
    return int(number), {bytes(key): value for key, value in zip(items[::2], items[1::2], strict=True)}  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def dovecot() -> Iterator[Witness]:
    # not tmp_path: another user must be able to get there
    home = Path(tempfile.mkdtemp(prefix="dovecot-mime-"))
    home.chmod(0o755)
    try:
        witness = Witness(home)
        witness.fill([(CORPUS / f"{name}.eml").read_bytes() for name in NAMES])
        yield witness
    finally:
        shutil.rmtree(home, ignore_errors=True)


DATA = {name: lines.to_crlf((CORPUS / f"{name}.eml").read_bytes()) for name in NAMES}
HEADERS = {name: data[: header.split(data)] for name, data in DATA.items()}

FIRST_FIELD = (
    "RFC 5322 3.6 allows one of each; Dovecot shows the last, and takes the first in SORT: here all of the server does"
)
NUL = "RFC 3501 9: CHAR8 is any OCTET except NUL. Dovecot puts U+FFFD in its place, which is longer than the file"
UNFOLDING = (
    'RFC 5322 2.2.3: "Unfolding is accomplished by simply removing any CRLF that is immediately followed by WSP"'
)
TOTAL = "RFC 5322 4.4, 3.4: Dovecot gives up on the rest of the list, or shows empty elements as addresses"
DEFAULT_TYPE = (
    'RFC 2045 5.2: the default is assumed "when a syntactically invalid Content-Type header field is encountered"'
)
PARAMETERS = (
    "RFC 2045 5.1 has nothing for broken parameters: Dovecot drops all behind the first, we take what can be read"
)
DELIMITER = 'RFC 2046 5.1.1: "the initial CRLF is considered to be attached to the boundary delimiter line"'

DIFFERENT = {
    ("ENVELOPE", "addresses-broken"): TOTAL,
    ("ENVELOPE", "addresses-odd"): TOTAL,
    ("ENVELOPE", "duplicate-fields"): FIRST_FIELD,
    ("ENVELOPE", "folded"): UNFOLDING,
    ("ENVELOPE", "nul"): NUL,
    ("STRUCTURE", "forwarded-parts"): DELIMITER,
    ("STRUCTURE", "nul"): NUL,
    ("STRUCTURE", "parameters-odd"): PARAMETERS,
    ("STRUCTURE", "rfc2231-broken"): "RFC 2231 3: Dovecot joins nothing once a section is lacking",
    (
        "STRUCTURE",
        "rfc2231-params",
    ): "the order of parameters; Dovecot puts what it joined last, also where nothing was cut",
    ("STRUCTURE", "type-empty"): DEFAULT_TYPE,
    ("STRUCTURE", "type-garbage"): DEFAULT_TYPE,
    ("STRUCTURE", "type-missing-subtype"): DEFAULT_TYPE,
    ("STRUCTURE", "type-no-semicolon"): PARAMETERS,
    ("STRUCTURE", "type-unclosed-quote"): PARAMETERS,
}


def compare(what: str, name: str, ours: object, theirs: object) -> None:
    if (what, name) in DIFFERENT:
        assert ours != theirs, "no longer different"
    else:
        assert ours == theirs


def test_size(dovecot: Witness) -> None:
    found = dovecot.fetch(b"RFC822.SIZE")
    assert {name: int(found[n][b"RFC822.SIZE"]) for n, name in enumerate(NAMES, 1)} == {  # type: ignore[arg-type]
        name: len(data) for name, data in DATA.items()
    }


def test_envelope(dovecot: Witness) -> None:
    found = dovecot.fetch(b"ENVELOPE")
    for number, name in enumerate(NAMES, 1):
        (ours,) = read(render_envelope(HEADERS[name]))
        compare("ENVELOPE", name, ours, found[number][b"ENVELOPE"])


@pytest.mark.parametrize("item", [b"BODY", b"BODYSTRUCTURE"])
def test_structure(dovecot: Witness, item: bytes) -> None:
    found = dovecot.fetch(item)
    render = structure.render_body if item == b"BODY" else structure.render_bodystructure
    for number, name in enumerate(NAMES, 1):
        if item == b"BODY" and name == "rfc2231-params":
            continue  # differs in the disposition, which is not shown
        (ours,) = read(render(mime.parse(DATA[name]), DATA[name]))
        compare("STRUCTURE", name, ours, found[number][item])


# --- sections -------------------------------------------------------------------------------------

WHOLE = [b"", b"HEADER", b"TEXT", b"HEADER.FIELDS (FROM SUBJECT X-NONE)", b"HEADER.FIELDS.NOT (FROM SUBJECT)"]
WHOLE_LINES = (
    "RFC 5322 2.2: a field ends with its CRLF. Where a delimiter follows a header at once, Dovecot takes the last "
    "CRLF of the header for that of the delimiter"
)
BLANK_LINE = (
    'RFC 3501 6.4.5: "Subsetting does not exclude the ... delimiting blank line between the header and the body"'
)
OTHERS = b"HEADER.FIELDS.NOT (FROM SUBJECT)"
PARTS_DIFFERENT = {
    ("boundary-prefix", b"1"): DELIMITER,
    ("boundary-prefix-reversed", b"1"): DELIMITER,
    ("boundary-same-nested", b"1"): DELIMITER,
    ("cr-only", OTHERS): BLANK_LINE,
    ("digest", b"2"): DELIMITER,
    ("digest", b"2.4.MIME"): WHOLE_LINES,
    ("forwarded-parts", b"3"): DELIMITER,
    ("forwarded-parts", b"3.TEXT"): DELIMITER,
    ("forwarded-parts", b"4"): DELIMITER,
    ("forwarded-parts", b"4.2"): DELIMITER,
    ("forwarded-parts", b"4.2.2"): DELIMITER,
    ("forwarded-parts", b"4.2.TEXT"): DELIMITER,
    ("header-cut-in-line", OTHERS): BLANK_LINE,
    ("header-without-blank-line", OTHERS): BLANK_LINE,
    ("message-base64", b"1.HEADER.FIELDS (FROM SUBJECT X-NONE)"): BLANK_LINE,
    ("message-base64", b"1." + OTHERS): BLANK_LINE,
    ("multipart-empty-parts", b"1.MIME"): WHOLE_LINES,
    ("multipart-empty-parts", b"3.MIME"): WHOLE_LINES,
    ("multipart-empty-parts", b"4.MIME"): WHOLE_LINES,
    ("part-header-no-blank-line", b"1.MIME"): WHOLE_LINES,
    ("zero-length", OTHERS): BLANK_LINE,
}


def sections(root: mime.Part) -> list[bytes]:
    """Name what exists, and a little of what does not."""
    names = [*WHOLE, b"9", b"9.MIME", b"1.9"]
    left: list[tuple[str, mime.Part, bool]] = [("", root, True)]
    while left:
        prefix, part, whole = left.pop()
        if whole and not part.children:
            prefix = f"{prefix}.1".lstrip(".")
            names += [prefix.encode(), f"{prefix}.MIME".encode()]
        elif not whole:
            names += [prefix.encode(), f"{prefix}.MIME".encode()]
        if part.message is not None:
            names += [f"{prefix}.{one.decode()}".encode() for one in WHOLE[1:]]
            left.append((prefix, part.message, True))
        left += [(f"{prefix}.{n}".lstrip("."), child, False) for n, child in enumerate(part.children, 1)]
    return names


def ours_of(name: str, asked: bytes, root: mime.Part) -> bytes | None:
    match = re.fullmatch(rb"((?:[0-9]+\.?)*?)\.?(|[A-Z.]+)(?: \(([^)]*)\))?", asked)
    assert match is not None
    numbers = tuple(int(number) for number in match[1].split(b".") if number)
    return section.extract(DATA[name], numbers, match[2], tuple((match[3] or b"").split()), lambda: root)


def test_sections(dovecot: Witness) -> None:
    roots = {name: mime.parse(data) for name, data in DATA.items()}
    asked = {name: sections(root) for name, root in roots.items()}
    commands = [
        b"FETCH %d (%b)" % (number, b" ".join(b"BODY.PEEK[%b]" % one for one in asked[name]))
        for number, name in enumerate(NAMES, 1)
    ]
    found = dict(map(fetched, dovecot.run(*commands)[0]))
    different = []
    for number, name in enumerate(NAMES, 1):
        for one in asked[name]:
            theirs = found[number][b"BODY[%b]" % one]
            ours = ours_of(name, one, roots[name])
            # Dovecot says "" where we say NIL; and NUL goes out as 0x80, by strings.literal
            if (ours or b"").replace(b"\0", b"\x80") != theirs:
                different.append((name, one))
    assert {case for case in different if case not in PARTS_DIFFERENT} == set()
    assert {case for case in PARTS_DIFFERENT if case not in different} == set()


def test_binary(dovecot: Witness) -> None:
    commands, ours = [], []
    for number, name in enumerate(NAMES, 1):
        root = mime.parse(DATA[name])
        for one in sections(root):
            if re.fullmatch(rb"[0-9.]+", one) and not one.endswith(b"9"):
                part = mime.find(root, tuple(map(int, one.split(b"."))))
                assert part is not None
                if not part.children and part.message is None:
                    commands.append(b"FETCH %d BINARY.PEEK[%b]" % (number, one))
                    ours.append((name, one, part))
    responses, statuses = dovecot.run(*commands)
    answers = {
        (NAMES[number - 1], key): value for number, items in map(fetched, responses) for key, value in items.items()
    }
    for (name, one, part), status in zip(ours, statuses, strict=True):
        theirs = answers[name, b"BINARY[%b]" % one] if status == b"OK" else None
        try:
            decoded: bytes | None = section.decode_part(DATA[name], part)
        except UnknownCte:
            decoded = None
        if (name, one) in BINARY_DIFFERENT:
            assert decoded != theirs
        else:
            assert (name, one, decoded) == (name, one, theirs)


BINARY_DIFFERENT = {
    ("encoding-unknown", b"4"): "a character of base64 is left over: what can be decoded is given, Dovecot says NO",
    ("duplicate-fields", b"1"): FIRST_FIELD + "; Dovecot decodes what its own BODYSTRUCTURE calls 8bit",
    ("encoding-unknown", b"3"): "an empty field; Dovecot's BODYSTRUCTURE calls it 7bit too, but it does not decode it",
}


# --- SEARCH, SORT, THREAD -------------------------------------------------------------------------


LATIN1 = "octets in a header that are neither ASCII nor UTF-8 have no meaning; Dovecot drops them, we guess ISO-8859-1"
AROUND = "clients show the body of a multipart in which no delimiter is found; Dovecot searches no multipart's own text"
LANGUAGE = "RFC 2231 5: charset*language in an encoded word; Dovecot does not decode it"
SEARCH_MORE = {
    (b"BODY", "x"): (
        {"encoding-unknown", "multipart-closed-at-once", "multipart-empty-boundary", "multipart-no-boundary"},
        "it searches nothing in an unknown transfer encoding; and " + AROUND,
    ),
    (b"TEXT", "grüße"): ({"latin1-headers", "encoded-words"}, LATIN1 + "; " + LANGUAGE),
    (b"TEXT", "müller"): ({"latin1-headers"}, LATIN1),
}


@pytest.mark.parametrize(
    "needle",
    [
        "grüße",
        "GRÜSSE",
        "köln",
        "hello",
        "signature",
        "Angebote – nur",
        "日本語",
        "quoted",
        "x",
        "part 4.2.2",
        "müller",
    ],
)
@pytest.mark.parametrize("key", [b"BODY", b"TEXT"])
def test_search(dovecot: Witness, key: bytes, needle: str) -> None:
    ((found,), _) = dovecot.run(b'SEARCH CHARSET UTF-8 %b "%b"' % (key, needle.encode()))
    theirs = {NAMES[int(number) - 1] for number in found[1:]}  # type: ignore[arg-type]
    folded = text.fold(needle)
    ours = {
        name
        for name, data in DATA.items()
        if text.contains(data, lambda data=data: text.pieces(mime.parse(data), data), folded, body_only=key == b"BODY")  # type: ignore[misc]
    }
    assert ours - theirs == SEARCH_MORE.get((key, needle), (set(), ""))[0]
    assert theirs - ours == set()


# What sorts elsewhere, see above; and Dovecot takes a date before 1970 for one after 2038.
SORT_DIFFERENT = {"addresses-broken", "addresses-groups", "latin1-headers"}


@pytest.mark.parametrize("key", ["SUBJECT", "DATE", "FROM", "TO", "CC", "DISPLAYFROM", "DISPLAYTO", "ARRIVAL"])
def test_sort(dovecot: Witness, key: str) -> None:
    def ours(position: int) -> str | int:
        head, received = HEADERS[NAMES[position]], RECEIVED + position * 86400
        if key == "SUBJECT":
            return order.subject_key(head)
        if key == "DATE":
            return order.sent_date(head, received)
        if key == "ARRIVAL":
            return received
        if key.startswith("DISPLAY"):
            return order.display_key(head, key.removeprefix("DISPLAY").encode())
        return order.mailbox_key(head, key.encode())

    ((found,), _) = dovecot.run(b"SORT (%b) UTF-8 ALL" % key.encode())
    theirs = [NAMES[int(number) - 1] for number in found[1:]]  # type: ignore[arg-type]
    sorted_names = [NAMES[position] for position in sorted(range(len(NAMES)), key=ours)]
    assert [name for name in sorted_names if name not in SORT_DIFFERENT] == [
        name for name in theirs if name not in SORT_DIFFERENT
    ]


def conversation(seed: int) -> list[bytes]:
    """Make messages that refer to one another, to themselves, and to what is not there."""
    chance = random.Random(seed)
    count = chance.randint(5, 40)
    messages = []
    for position in range(count):
        head = b""
        if chance.random() < 0.9:
            head += b"Message-ID: <%d@x>\n" % chance.randint(0, count)
        if chance.random() < 0.6:
            named = (b"<%d@x>" % chance.randint(0, count + 3) for _ in range(chance.randint(0, 4)))
            head += b"References: " + b" ".join(named) + b"\n"
        if chance.random() < 0.4:
            head += b"In-Reply-To: <%d@x> words\n" % chance.randint(0, count)
        if chance.random() < 0.8:
            before = chance.choice([b"", b"Re: ", b"Fwd: ", b"[x] Re: ", b"[fwd: ", b"[a] [b] "])
            subject = chance.choice([b"foo", b"bar", b"baz", b""])
            head += b"Subject: " + before + subject + chance.choice([b"", b" (fwd)", b"]"]) + b"\n"
        # no date twice: where two are equal, Dovecot's order by REFS is not that of the mailbox
        moment = (10 + chance.randrange(8), chance.randrange(60), position)
        head += b"Date: Mon, 3 Nov 2025 %02d:%02d:%02d +0100\n" % moment
        messages.append(head + b"\nbody\n")
    return messages


@pytest.mark.parametrize("seed", range(20))
def test_thread(seed: int) -> None:
    messages = conversation(seed)
    home = Path(tempfile.mkdtemp(prefix="dovecot-thread-"))
    home.chmod(0o755)
    try:
        witness = Witness(home)
        witness.fill(messages)
        entries = [thread.entry(number, lines.to_crlf(raw), 0) for number, raw in enumerate(messages, 1)]
        names = {
            b"ORDEREDSUBJECT": thread.ordered_subject,
            b"REFERENCES": thread.references,
            b"REFS": thread.refs,
        }
        responses, _ = witness.run(*(b"THREAD %b UTF-8 ALL" % name for name in names))
        for response, (name, algorithm) in zip(responses, names.items(), strict=True):
            assert read(thread.render_threads(algorithm(entries))) == response[1:], name
    finally:
        shutil.rmtree(home, ignore_errors=True)
