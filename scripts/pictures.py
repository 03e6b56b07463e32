"""Draw docs/pictures: a server is started, clients come, commands are run on a terminal, and what it shows becomes SVG.

Nothing is drawn by hand, so a picture is as true as the program that it was made with.
"""

from __future__ import annotations

import io
import itertools
import os
import pty
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from client import Client
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text
from running import control_place, start_server, stop_server
from spool import Spool

PICTURES = Path(__file__).parent.parent / "docs" / "pictures"
COLUMNS = 100
ASKED = ("NOOP", "FETCH 1:20 (FLAGS BODY.PEEK[])", "SEARCH SUBJECT 7", "STORE 1 +FLAGS (\\Seen)")
# Without the fonts that would be fetched from elsewhere.
SVG = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL).replace("Fira Code", "monospace")
UIDLIST = """3 V1796041708 N4 G0123456789abcdef0123456789abcdef
1 :{0}
2 :{1}
3 :{2}
"""


def shown(*words: str) -> str:
    """Run a command on a terminal, and return what it has shown."""
    parent, number = pty.openpty()
    environ = {**os.environ, "COLUMNS": str(COLUMNS), "LINES": "40", "TERM": "xterm-256color"}
    with subprocess.Popen(
        [sys.executable, "-m", "maildir_imapd", *words], stdin=number, stdout=number, stderr=number, env=environ
    ):
        os.close(number)
        found = b""
        while True:
            try:
                data = os.read(parent, 65536)
            except OSError:
                break  # the command has ended
            if not data:
                break
            found += data
    os.close(parent)
    return found.decode().replace("\r\n", "\n").rstrip("\n")


def draw(name: str, title: str, output: str) -> None:
    """Write a picture of *output*, which has the colours of a terminal."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(output))
    PICTURES.mkdir(exist_ok=True)
    svg = console.export_svg(title=title, code_format=SVG, unique_id=name)
    (PICTURES / f"{name}.svg").write_text(svg)
    print(f"docs/pictures/{name}.svg", file=sys.stderr)


@contextmanager
def busy(clients: list[Client]) -> Iterator[None]:
    """Have clients ask for this and that meanwhile."""
    over = threading.Event()

    def work() -> None:
        for turn in itertools.count():
            for client in clients:
                if over.is_set():
                    return
                client.ok(
                    ("NOOP", "FETCH 1:20 (FLAGS BODY.PEEK[])", "SEARCH SUBJECT 7", "STORE 1 +FLAGS (\\Seen)")[turn % 4]
                )
                time.sleep(0.01)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def running(base: Path) -> None:
    """What is going on in a server, by status, who and top."""
    server = start_server(base, users=3)
    place = f"--socket={control_place(base)}"
    clients = []
    try:
        for n, folders in enumerate((("INBOX", "Lists", "Work"), ("INBOX",), ("INBOX", "Archive"))):
            spool = Spool(base / f"u{n}" / "Maildir")
            for folder in folders:
                spool.simple(folder, 200)
                client = Client.to(server.port, user=f"u{n}")
                client.ok(f'ID ("name" "{("Thunderbird", "K-9 Mail", "mbsync")[n]}")')
                client.ok(f"SELECT {folder}")
                client.ok("FETCH 1:* (FLAGS ENVELOPE)")
                client.ok("SEARCH TEXT nothing")
                clients.append(client)
        clients[0].idle()
        draw("status", "maildir-imapd status", shown("status", place))
        with busy(clients[1:]):
            draw("top", "maildir-imapd top", shown("top", "--once", place))
    finally:
        for client in clients:
            client.close()
        stop_server(server)


def adopting(base: Path) -> None:
    """A spool of Dovecot's, before it is taken over; one folder needs a look."""
    spool = Spool(base / "ann" / "Maildir")
    bases = spool.simple("INBOX", 3)
    (spool.root / "dovecot-uidlist").write_text(UIDLIST.format(*bases))
    lists = spool.simple("Lists.Garden", 3)
    (spool.path("Lists.Garden") / "dovecot-uidlist").write_text(UIDLIST.format(*lists))
    spool.simple("Work", 2)
    (spool.path("Work") / "dovecot-uidlist").write_text("not a list\n")
    location = f"--mail-location=maildir:{spool.root}"
    draw("adopt", "maildir-imapd adopt --dry-run", shown("adopt", "--dry-run", location))


def main() -> None:
    """Draw them all."""
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        (base / "server").mkdir()
        running(base / "server")
        adopting(base)


if __name__ == "__main__":
    main()
