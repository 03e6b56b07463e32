"""A sample Maildir: a dozen messages such as real mailboxes hold."""

from __future__ import annotations

import datetime as dt
import os
import time
from email import policy
from email.headerregistry import Address
from email.message import EmailMessage
from pathlib import Path

ANN = Address("Ann Example", "ann", "example.org")
BEN = Address("Ben Müller", "ben", "example.net")
LIST = Address("Garden Club", "garden", "lists.example.com")
SHOP = Address("Example Shop", "orders", "shop.example.com")

# A 1x1 PNG.
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c63f8cfc0f01f00050001ff"
    "89993d1d0000000049454e44ae426082"
)


def _message(n: int, sender: Address, subject: str, text: str, *, to: Address = ANN) -> EmailMessage:
    message = EmailMessage(policy=policy.default)
    message["From"] = sender
    message["To"] = to
    message["Subject"] = subject
    message["Date"] = dt.datetime.now(dt.UTC) - dt.timedelta(days=13 - n, hours=n)
    message["Message-ID"] = f"<sample-{n}@example.org>"
    message.set_content(text)
    return message


def messages() -> list[tuple[str, str, EmailMessage]]:
    """The samples: folder on disk, info part ("" for new/), message; the oldest first."""
    out: list[tuple[str, str, EmailMessage]] = []
    out.append(("", "S", _message(1, BEN, "Lunch on Friday?", "Hi Ann,\n\nshall we try the new place?\n\nBen\n")))
    reply = _message(2, ANN, "Re: Lunch on Friday?", "Gladly! Half past twelve.\n", to=BEN)
    reply["In-Reply-To"] = reply["References"] = "<sample-1@example.org>"
    out.append((".Sent", "S", reply))
    answer = _message(3, BEN, "Re: Lunch on Friday?", "Perfect.\n\n> Gladly! Half past twelve.\n")
    answer["In-Reply-To"] = "<sample-2@example.org>"
    answer["References"] = "<sample-1@example.org> <sample-2@example.org>"
    out.append(("", "RS", answer))
    out.append(("", "FS", _message(4, SHOP, "Übergrößen — order № 4711", "Grüße aus Köln, 你好, привет.\n")))
    html = _message(5, SHOP, "Your receipt", "Total: 12.50 EUR\n")
    html.add_alternative(
        "<html><body><h1>Receipt</h1><p>Total: <b>12.50&nbsp;EUR</b></p></body></html>", subtype="html"
    )
    out.append(("", "S", html))
    picture = _message(6, BEN, "A picture", "Look at this.\n")
    picture.add_attachment(PNG, maintype="image", subtype="png", filename="tiny.png")
    out.append(("", "", picture))
    forward = _message(7, BEN, "Fwd: Lunch on Friday?", "See below.\n")
    forward.add_attachment(_message(1, BEN, "Lunch on Friday?", "Hi Ann,\n\nshall we try the new place?\n"))
    out.append(("", "PS", forward))
    news = _message(8, LIST, "[garden] What to sow in November", "Broad beans, garlic, peas.\n" * 40)
    news["List-Id"] = "<garden.lists.example.com>"
    out.append((".Lists.Garden", "S", news))
    out.append((".Lists.Garden", "", _message(9, LIST, "[garden] Frost tonight", "Cover the lemon trees.\n")))
    invoice = _message(10, SHOP, "Invoice 2026-11", "The invoice is attached.\n")
    invoice.add_attachment(
        b"%PDF-1.4\n" + bytes(range(256)) * 200, maintype="application", subtype="pdf", filename="Rechnung für Ann.pdf"
    )
    out.append(("", "F", invoice))
    out.append((".Drafts", "D", _message(11, ANN, "To the neighbours", "Dear neighbours,\n\n", to=BEN)))
    out.append(("", "", _message(12, BEN, "Keys", "They are under the flower pot.\n")))
    out.append((".Trash", "ST", _message(13, SHOP, "Last chance!!!", "Only today.\n")))
    return out


def make(root: Path) -> int:
    """Write the samples as a Maildir++ tree below *root*; returns how many there are."""
    host = "sample"
    count = 0
    for folder in ("", ".Sent", ".Drafts", ".Trash", ".Lists", ".Lists.Garden", ".Archive"):
        for sub in ("cur", "new", "tmp"):
            (root / folder / sub).mkdir(parents=True, exist_ok=True, mode=0o700)
        if folder:
            (root / folder / "maildirfolder").touch()
    for count, (folder, flags, message) in enumerate(messages(), 1):
        octets = message.as_bytes(policy=policy.default)
        when = message["Date"].datetime.timestamp()
        base = f"{int(when)}.M{count}P{os.getpid()}.{host},S={len(octets)}"
        place = root / folder / ("cur" if flags else "new") / (f"{base}:2,{flags}" if flags else base)
        place.write_bytes(octets)
        os.utime(place, (time.time(), when))
    (root / "subscriptions").write_bytes(b"V\t2\n\nINBOX\nSent\nDrafts\nTrash\nArchive\nLists\tGarden\n")
    return count
