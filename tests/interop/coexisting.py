"""Our half of the tests called coexist: a session with ``coexist``, in a process of its own.

    coexisting.py dovecot|courier|alone MAILDIR SEED STEPS SECONDS CONTROL [UID GID]

*alone*: beside a delivery agent of Dovecot's only, so without ``coexist``. It goes on for so many steps and for so
long. With a CONTROL directory the folders are nested, without (empty) they are Maildir++. Prints how many messages it
put in.
"""

from __future__ import annotations

import os
import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from memory import MemoryClient

from maildir_imapd.store.account import Account
from maildir_imapd.store.maildir.layout import Places


def main(kind: str, root: str, seed: str, steps: str, seconds: str, control: str, *owner: str) -> None:
    if owner:
        os.setgid(int(owner[1]))
        os.setuid(int(owner[0]))
    places = Places(os.fsencode(root), kind="fs" if control else "maildir++", control=os.fsencode(control) or None)
    account = Account(places, fsync="never", mirror="dovecot" if kind == "alone" else kind, coexist=kind != "alone")
    client = MemoryClient(account)
    client.read_line()
    client.command(b"a LOGIN ann secret")
    client.command(b"b SELECT INBOX")
    rng = random.Random(int(seed))
    added = 0
    end = time.monotonic() + float(seconds)
    done = 0
    while done < int(steps) or time.monotonic() < end:
        done += 1
        match rng.randrange(8):
            case 0 | 1:
                lines = client.command(b"c APPEND INBOX () {15+}\r\nSubject: ours\r\n")
                added += lines[-1].startswith(b"c OK")
            case 2 | 3:
                client.command(b"d STORE %d +FLAGS (\\Seen)" % rng.randint(1, 5))
            case 4:
                client.command(b"e STORE %d -FLAGS (\\Seen)" % rng.randint(1, 5))
                client.command(b"e STORE %d %cFLAGS (ours)" % (rng.randint(1, 5), rng.choice(b"+-")))
            case 5:
                client.command(b"f STORE 3 +FLAGS.SILENT (\\Deleted)")
                client.command(b"g EXPUNGE")
            case _:
                client.command(b"h NOOP")
        assert not client.engine.over
    print(added)


if __name__ == "__main__":
    main(*sys.argv[1:])
