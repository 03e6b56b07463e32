"""Messages and Maildirs to measure with: the same ones at every run, and mixed as real mailboxes are."""

from __future__ import annotations

import base64
import os
import random
import time
from collections.abc import Sequence
from email.utils import formatdate
from pathlib import Path
from quopri import encodestring

# Of 2026, so that a run next year searches the same dates.
LAST = 1_772_000_000
SPAN = 3 * 365 * 86_400
_TEXT = """
the of and to in a is that for it as was with be by on not he his but at are this have from or had an they which one
you were all her she there would their we him been has when who will no more if out so up said what its about than
into them can only other time new some could these two may first then do any like my now over such our man budget
meeting invoice schedule release draft review contract garden travel ticket server backup report holiday question
answer delivery order payment project customer weekend proposal translation deadline version conference
"""
WORDS = _TEXT.split()
PEOPLE = [
    (f"{first} {last}", f"{first}.{last}@{domain}".lower())
    for first in ("Ann", "Ben", "Chloe", "David", "Elif", "Farid", "Greta", "Hana", "Ivan", "Julia")
    for last, domain in (("Miller", "example.org"), ("Okafor", "example.net"), ("Rossi", "mail.example.com"))
]
EIGHT_BIT = "Grüße aus Köln, übermorgen größere Änderungen; señor Muñoz à la carte. "
# A word that stands in one body of a hundred, and one that stands in one subject of a hundred.
RARE_IN_BODY = "xylophone"
RARE_IN_SUBJECT = "quarterly"
# What a message is, and how many of a hundred are.
KINDS = (("plain", 48), ("alternative", 30), ("attachment", 10), ("eight", 8), ("nested", 4))
_DRAW = [kind for kind, share in KINDS for _ in range(share)]


def message(number: int) -> bytes:
    """Make message *number*, with the line ends of a file on disk."""
    rnd = random.Random(number)
    kind = rnd.choice(_DRAW)
    name, address = rnd.choice(PEOPLE)
    to = [rnd.choice(PEOPLE) for _ in range(rnd.choice((1, 1, 1, 2, 3, 8)))]
    subject = _words(rnd, rnd.randint(3, 9)).capitalize()
    if number % 100 == 7:
        subject += f" {RARE_IN_SUBJECT} figures"
    lines = [f"Return-Path: <{address}>", *_trace(rnd, number)]
    # Threads: four of ten answer one of the messages shortly before.
    references: list[int] = []
    if number > 10 and rnd.random() < 0.4:
        parent = number - rnd.randint(1, 10)
        references = [max(parent - rnd.randint(5, 20), 1), parent]
        subject = f"Re: {_subject_of_thread(parent)}"
    if kind == "eight":
        subject = "=?utf-8?B?" + base64.b64encode(f"Grüße: {subject[:24]}".encode()).decode() + "?="
    lines += [
        f"From: {name} <{address}>" if number % 3 else f'"{name}" <{address}>',
        "To: " + ",\n\t".join(f"{n} <{a}>" for n, a in to),
        f"Subject: {subject}",
        f"Date: {formatdate(when(number))}",
        f"Message-ID: <{number}.bench@example.org>",
    ]
    if references:
        lines.append(f"In-Reply-To: <{references[-1]}.bench@example.org>")
        lines.append("References: " + "\n ".join(f"<{n}.bench@example.org>" for n in references))
    if number % 4 == 0:
        lines += ["List-Id: Some list <some.lists.example.org>", "Precedence: list"]
    lines += ["MIME-Version: 1.0", "User-Agent: Mozilla Thunderbird", f"X-Spam-Score: {rnd.random() * 5 - 2:.1f}"]
    head = "\n".join(lines).encode()
    text = _text(rnd, _length(rnd))
    if number % 100 == 13:
        text += f"\nand a {RARE_IN_BODY} as well\n"
    return head + b"\n" + _BODIES[kind](rnd, number, text)


def when(number: int) -> int:
    """The date of a message, in seconds: a later number is a later message."""
    return LAST - SPAN + (number * 7919) % 3600 + SPAN * (number % 100_000) // 100_000


def attachment(size: int) -> bytes:
    """Make a message with one large attachment."""
    data = random.Random(size).randbytes(size * 3 // 4)
    head = b"From: ann@example.org\nTo: ben@example.net\nSubject: A large one\nMIME-Version: 1.0\n"
    return head + _mixed(b"large", b"See below.\n", base64.encodebytes(data), "video/mp4", "film.mp4")


def _words(rnd: random.Random, count: int) -> str:
    return " ".join(rnd.choices(WORDS, k=count))


def _subject_of_thread(number: int) -> str:
    return _words(random.Random(number // 10), 4).capitalize()


def _trace(rnd: random.Random, number: int) -> list[str]:
    date = formatdate(when(number))
    return [
        f"Received: from relay{hop}.example.net (relay{hop}.example.net [192.0.2.{hop + 10}])\n"
        f"\tby mx{hop}.example.org (Postfix) with ESMTPS id {rnd.getrandbits(40):010X}\n\tfor <ann@example.org>; {date}"
        for hop in range(rnd.randint(1, 4))
    ]


def _length(rnd: random.Random) -> int:
    return rnd.randint(1200, 5500)


def _text(rnd: random.Random, size: int) -> str:
    lines = []
    while size > 0:
        lines.append(_words(rnd, rnd.randint(6, 13)) if rnd.random() > 0.08 else "")
        size -= len(lines[-1]) + 1
    return "\n".join(lines) + "\n"


def _plain(rnd: random.Random, number: int, text: str) -> bytes:
    return b"Content-Type: text/plain; charset=us-ascii\nContent-Transfer-Encoding: 7bit\n\n" + text.encode()


def _eight(rnd: random.Random, number: int, text: str) -> bytes:
    text += EIGHT_BIT * rnd.randint(2, 20) + "\n"
    if number % 2:
        return b"Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n" + text.encode()
    body = encodestring(text.encode())
    return b"Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n" + body


def _both(rnd: random.Random, number: int, text: str) -> tuple[bytes, bytes]:
    """A multipart/alternative: its header lines and its body."""
    mark = b"=_alt_%d" % number
    html = "<html><body>" + "".join(f"<p>{line}</p>\n" for line in text.split("\n")) + "</body></html>\n"
    parts = (
        b"Content-Type: text/plain; charset=utf-8\n\n" + text.encode(),
        b"Content-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n"
        + encodestring(html.encode()),
    )
    return b'Content-Type: multipart/alternative; boundary="%b"\n' % mark, _multipart(mark, parts)


def _alternative(rnd: random.Random, number: int, text: str) -> bytes:
    head, body = _both(rnd, number, text[: len(text) // 2])
    return head + b"\n" + body


def _attachment(rnd: random.Random, number: int, text: str) -> bytes:
    # The tail of the sizes: some of tens of kilobytes, few of hundreds.
    size = rnd.choice((3_000, 6_000, 12_000, 30_000, 60_000)) if number % 31 else rnd.randint(150_000, 700_000)
    data = base64.encodebytes(rnd.randbytes(size * 3 // 4))
    return _mixed(b"=_mix_%d" % number, text.encode(), data, "application/pdf", f"report-{number}.pdf")


def _nested(rnd: random.Random, number: int, text: str) -> bytes:
    """An alternative beside a forwarded message."""
    mark = b"=_nest_%d" % number
    head, body = _both(rnd, number, text[: len(text) // 3])
    inner = b"From: ben@example.net\nTo: ann@example.org\nSubject: The first one\nDate: %b\n\n%b" % (
        formatdate(when(number) - 86_400).encode(),
        text[:1500].encode(),
    )
    parts = head + b"\n" + body, b"Content-Type: message/rfc822\nContent-Disposition: inline\n\n" + inner
    return b'Content-Type: multipart/mixed; boundary="%b"\n\n' % mark + _multipart(mark, parts)


def _mixed(mark: bytes, text: bytes, data: bytes, kind: str, name: str) -> bytes:
    head = f'Content-Type: {kind}; name="{name}"\nContent-Disposition: attachment; filename="{name}"\n'
    parts = (
        b"Content-Type: text/plain; charset=us-ascii\n\n" + text,
        head.encode() + b"Content-Transfer-Encoding: base64\n\n" + data,
    )
    return b'Content-Type: multipart/mixed; boundary="%b"\n\n' % mark + _multipart(mark, parts)


def _multipart(mark: bytes, parts: Sequence[bytes]) -> bytes:
    return b"".join(b"--%b\n%b\n" % (mark, part) for part in parts) + b"--%b--\n" % mark


_BODIES = {
    "plain": _plain,
    "eight": _eight,
    "alternative": _alternative,
    "attachment": _attachment,
    "nested": _nested,
}


class Spool:
    """The messages once on disk; every mailbox that is measured is made of links to them.

    So both servers read the same pages of the same files, and a fresh mailbox costs links, not copies.
    """

    def __init__(self, root: Path, owner: tuple[int, int] | None) -> None:
        self.root = root
        self.owner = owner

    def base(self, size: int) -> Path:
        """The directory with *size* generated messages; made when it is asked for first."""
        made = self.root / f"base-{size}"
        if not made.exists():
            self._write(made, (message(number) for number in range(1, size + 1)))
        return made

    def large(self, size: int, count: int) -> Path:
        """The directory with *count* messages of *size* octets each."""
        made = self.root / f"large-{size}-{count}"
        if not made.exists():
            data = attachment(size)
            self._write(made, (data for _ in range(count)))
        return made

    def _write(self, directory: Path, messages: object) -> None:
        directory.mkdir(parents=True)
        rnd = random.Random(0)
        for number, data in enumerate(messages, 1):  # type: ignore[arg-type, var-annotated]
            flags = "".join(sorted({rnd.choice("SSSSSSSSSS "), rnd.choice("RF          ")} - {" "}))
            lines = data.count(b"\n")
            name = f"{when(number)}.M{number:06}P4711.bench,S={len(data)},W={len(data) + lines}:2,{flags}"
            path = directory / name
            path.write_bytes(data)
            os.utime(path, (when(number), when(number)))
            self.give(path)

    def mailbox(self, base: Path | None, maildir: Path, *, uids: bool = False) -> None:
        """Make the Maildir *maildir* of links to what is in *base*; with *uids* Dovecot has given UIDs to all."""
        for directory in (maildir, maildir / "cur", maildir / "new", maildir / "tmp"):
            directory.mkdir(mode=0o700)
            self.give(directory)
        if maildir.name.startswith("."):
            (maildir / "maildirfolder").touch()
            self.give(maildir / "maildirfolder")
        if base is None:
            return
        cur = os.fspath(maildir / "cur") + "/"
        for entry in os.scandir(base):
            os.link(entry.path, cur + entry.name)
        if uids:
            names = sorted(entry.name.partition(":")[0] for entry in os.scandir(base))
            lines = [f"3 V1700000000 N{3 * len(names) + 1} G{len(names):032x}\n"]
            lines += [f"{3 * number} :{name}\n" for number, name in enumerate(names, 1)]
            (maildir / "dovecot-uidlist").write_text("".join(lines))
            self.give(maildir / "dovecot-uidlist")
        # A server may wait for the clock to leave the second in which the directory changed.
        past = time.time() - 3600
        os.utime(maildir / "cur", (past, past))

    def deliver(self, base: Path, maildir: Path, count: int | None = None) -> None:
        """Put messages of *base* into new/, all that are not there yet or the first *count*."""
        names = sorted(entry.name for entry in os.scandir(base))
        there = {entry.name.partition(":")[0] for sub in ("cur", "new") for entry in os.scandir(maildir / sub)}
        for name in names[:count]:
            stem = name.partition(":")[0]
            if stem not in there:
                os.link(base / name, maildir / "new" / stem)

    def give(self, path: Path) -> None:
        """Hand a file to the user the servers read mail as."""
        if self.owner is not None:
            os.chown(path, *self.owner)
