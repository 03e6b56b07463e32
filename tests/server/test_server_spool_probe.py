"""Whether the spool answers: by directories that are there or not, by a mount that hangs, and by a whole server."""

from __future__ import annotations

import errno
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import fuse
import pytest
from asking import run, told
from client import Client
from lmtp_talker import Lmtp
from running import start_server, stop_server

from maildir_imapd.config import load
from maildir_imapd.server import settings
from maildir_imapd.server.probed import Probed, beginnings
from maildir_imapd.server.spool_probe import NO_MARKER, STOOD_STILL_SECONDS, SpoolProbe, look

LIMITS = settings.confinement(load(None, {}))


def until(true: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it never became true"
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/srv/mail/%d/%n/Maildir", (b"/srv/mail",)),
        ("/srv/mail/of-%n", (b"/srv/mail",)),
        ("/%u", (b"/",)),
        ("/srv/mail/Maildir", (b"/srv/mail",)),
        ("~/Maildir", ()),
        ("%h/Maildir", ()),
        ("mail/%u", ()),
    ],
)
def test_beginnings(path: str, found: tuple[bytes, ...]) -> None:
    assert beginnings(path) == found


def test_settings(tmp_path: Path) -> None:
    location = f"maildir:{tmp_path}/%u"
    found = settings.probed(load(None, {"mail_location": location, "spool_marker": ".mounted"}))
    assert found == Probed((os.fsencode(tmp_path),), 15.0, False, b".mounted")
    assert not settings.probed(load(None, {"mail_location": location, "spool_probe": "no"})).paths
    named = load(None, {"mail_location": location, "spool_probe": ["/a", "/b"], "spool_timeout": "3s"})
    assert settings.probed(named) == Probed((b"/a", b"/b"), 3.0, True, None)


def test_a_look(tmp_path: Path) -> None:
    here, nowhere = os.fsencode(tmp_path), os.fsencode(tmp_path / "nowhere")
    assert look(Probed((here,))) == 0
    # What nobody has named may not be there: its users' mail may all be elsewhere.
    assert look(Probed((nowhere, here))) == 0
    assert look(Probed((nowhere,), named=True)) == errno.ENOENT
    assert look(Probed((here,), marker=b".mounted")) == NO_MARKER
    (tmp_path / ".mounted").touch()
    assert look(Probed((here,), marker=b".mounted")) == 0
    assert os.listdir(tmp_path) == [".mounted"]


def test_what_the_supervisor_makes_of_it() -> None:
    """Under a clock of the test's; the process's notes are made by hand."""
    now = 1000.0
    probe = SpoolProbe(Probed((b"/x",), 15.0), LIMITS, clock=lambda: now)

    def later(seconds: float) -> str:
        nonlocal now
        for _ in range(int(seconds)):
            now += 1.0
            found = probe.trouble()
        return found

    def answer(found: int = 0) -> None:
        probe._found[0], probe._answered[0] = found, now

    # Before the first answer it has its time as well.
    assert later(15) == ""
    assert later(1) == "no answer for 15 seconds"
    answer()
    assert later(1) == ""
    answer(errno.ESTALE)
    assert later(1) == os.strerror(errno.ESTALE)
    answer(NO_MARKER)
    assert later(1) == "the marker is not there"
    answer()
    assert later(15) == ""
    # Everything stood still, the supervisor, too: that says nothing of the spool.
    now += STOOD_STILL_SECONDS + 100
    assert probe.trouble() == ""
    assert later(15) == ""
    assert later(1) == "no answer for 15 seconds"


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    place = tmp_path / "spool"
    place.mkdir()
    why = fuse.why_not(place)
    if why:
        pytest.skip(why)
    return place


@pytest.mark.slow
def test_a_mount_that_hangs(tmp_path: Path, spool: Path) -> None:
    """The server goes on for who is here, sends new clients away, and takes them again; nothing of it hangs."""
    with fuse.Hanging(spool) as mount:
        running = start_server(
            tmp_path, f"--spool-probe={spool}", "--spool-timeout=2s", "--lmtp-listen=127.0.0.1:0", users=3
        )
        try:
            here = Client.to(running.port, user="u1")
            for breaks, mends in ((mount.answers.clear, mount.answers.set), (fails(mount), mends_of(mount))):
                until(lambda: run(tmp_path, "ready").returncode == 0)
                breaks()
                until(lambda: run(tmp_path, "ready").stdout == "not ready: the spool does not answer\n")
                assert re.match(
                    rb"\* BYE \[UNAVAILABLE\] The mail cannot be reached just now; try again later\Z",
                    Client.to(running.port).greeting,
                )
                lmtp = Lmtp(("127.0.0.1", running.ports["lmtp"]), greeted=False)
                assert lmtp.answer().startswith("421 4.3.2 ")
                lmtp.close()
                here.ok("NOOP")
                found = told(tmp_path, "status", status=1)
                assert [each["what"] for each in found["wrong"]] == ["spool"]
                mends()
                until(lambda: run(tmp_path, "ready").returncode == 0)
                Client.to(running.port, user="u2").ok("NOOP")
                assert told(tmp_path, "status")["ok"]
            log = (tmp_path / "log").read_text()
            assert log.count("spool does not answer") == log.count("spool answers again") == 2
            # It ends while the mount hangs.
            mount.answers.clear()
            until(lambda: run(tmp_path, "ready").returncode == 69)
        finally:
            Client.close_all()
            stop_server(running)


def fails(mount: fuse.Hanging) -> Callable[[], None]:
    def breaks() -> None:
        mount.error = errno.EIO

    return breaks


def mends_of(mount: fuse.Hanging) -> Callable[[], None]:
    def mends() -> None:
        mount.error = 0

    return mends


@pytest.mark.slow
def test_a_spool_that_is_not_mounted(tmp_path: Path) -> None:
    place = tmp_path / "mail"
    place.mkdir()
    running = start_server(tmp_path, f"--spool-probe={place}", "--spool-marker=.mounted", users=3)
    try:
        until(lambda: run(tmp_path, "ready").returncode == 69)
        (place / ".mounted").touch()
        until(lambda: run(tmp_path, "ready").returncode == 0)
        shutil.rmtree(place)
        until(lambda: run(tmp_path, "ready").returncode == 69)
    finally:
        Client.close_all()
        stop_server(running)
