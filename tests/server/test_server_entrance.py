"""What a supervisor and its workers share of whether clients are taken."""

from __future__ import annotations

import os

from maildir_imapd.errors import BeingEmptied, SpoolSilent
from maildir_imapd.server.entrance import Entrance, Shut


def test_who_is_welcome() -> None:
    entrance = Entrance(4)
    assert entrance.why is Shut.OPEN
    assert entrance.goodbye("imap") is None
    for why, kind in ((Shut.DRAINING, BeingEmptied), (Shut.SPOOL, SpoolSilent)):
        entrance.shut(why)
        for service in ("imap", "lmtp"):
            said = entrance.goodbye(service)
            assert type(said) is kind
            assert said.code == b"UNAVAILABLE"
        # Programs of this machine ask on.
        assert all(entrance.goodbye(service) is None for service in ("auth", "lookup", "policy"))
    entrance.shut(Shut.OPEN)
    assert entrance.goodbye("lmtp") is None


def test_what_one_process_writes_another_reads() -> None:
    entrance = Entrance(4)
    process = os.fork()
    if process == 0:
        entrance.shut(Shut.DRAINING)
        entrance.begin(3, 1.0, 2.0, 3.0)
        entrance.note_left(1, 3, 70)
        os._exit(0)
    assert os.waitpid(process, 0)[1] == 0
    assert (entrance.why, entrance.drain, entrance.times) == (Shut.DRAINING, 3, (1.0, 2.0, 3.0))
    assert entrance.left(1) == 70
    assert entrance.left(0) is None  # it has not looked
    entrance.begin(4, 1.0, 2.0, 3.0)
    assert entrance.left(1) is None  # of an earlier drain
    entrance.end()
    assert entrance.drain == 0
