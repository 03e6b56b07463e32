"""``search_extract`` as the manual shows it: words of a PDF are found, with the program that Debian has for them."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest
from client import Client
from running import program, start_server, stop_server
from spool import Spool

TURNS = 10_000
MANUAL = Path(__file__).parents[2] / "man" / "maildir-imapd.8.in"
AT_ONCE = (
    "from maildir_imapd.server import index_jobs; index_jobs.DELAY_SECONDS = index_jobs.REST_SECONDS = 0.0;"
    "from maildir_imapd.cli import run; run()"
)


def pdf(text: str) -> bytes:
    """Make the smallest document of one page."""
    content = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET".encode()
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R /Resources << /Font << /F1 %b >> >> >>"
        % b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        b"<< /Length %d >>\nstream\n%b\nendstream" % (len(content), content),
    ]
    made, places = b"%PDF-1.4\n", []
    for number, each in enumerate(objects, 1):
        places.append(len(made))
        made += b"%d 0 obj\n%b\nendobj\n" % (number, each)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    return made + (
        b"xref\n0 5\n0000000000 65535 f \n%btrailer\n<< /Size 5 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n"
        % (table, len(made))
    )


def message(kind: str, octets: bytes) -> bytes:
    head = (
        "Subject: report\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=x\n\n--x\n\nattached\n--x\n"
        f"Content-Type: {kind}\nContent-Transfer-Encoding: base64\n\n"
    )
    return head.encode() + base64.encodebytes(octets) + b"--x--\n"


@pytest.mark.slow
def test_the_words_of_a_pdf(tmp_path: Path) -> None:
    program("pdftotext")
    shown = re.search(r'search_extract = \["(.*)"\]', MANUAL.read_text())
    assert shown is not None
    extract = shown[1].replace("\\-", "-")
    running = start_server(
        tmp_path, "--search-index=yes", f"--search-extract={extract}", users=1, program=("-c", AT_ONCE)
    )
    try:
        user, spool = running.user()
        put(spool)
        client = Client.to(running.port, user=user)
        client.ok("SELECT INBOX")
        assert b"* SEARCH" in client.ok("SEARCH BODY Quarterly"), "nothing is extracted but for an index"
        for _ in range(TURNS):
            if b"* SEARCH 2" in client.ok("SEARCH BODY quarterly"):
                break
        else:
            raise AssertionError((tmp_path / "log").read_text())
        assert b"* SEARCH 1 2 3" in client.ok("SEARCH BODY attached")
    finally:
        Client.close_all()
        stop_server(running)


def put(spool: Spool) -> None:
    spool.put("INBOX", message("application/octet-stream", pdf("quarterly")), "")
    spool.put("INBOX", message("application/pdf", pdf("the quarterly figures")), "")
    spool.put("INBOX", message("application/pdf", b"%PDF-1.4 and then nothing of a document"), "")
