"""maildir-imapd check-spool: what two hosts do to one directory, and what of it the other one does not see."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from maildir_imapd.cli import main
from maildir_imapd.cli.group import FAILED
from maildir_imapd.config import load
from maildir_imapd.errors import ConfigError
from maildir_imapd.server import spool_check
from maildir_imapd.store import trying
from maildir_imapd.store.disk import filesystems
from maildir_imapd.store.records import hosts
from maildir_imapd.store.trying import Actor

Do = Callable[..., Any]


class Beside:
    """The other side in this process, which may see what was and not what is: *lies* answer in its place."""

    def __init__(self, directory: Path, **lies: Any) -> None:
        self._actor = Actor(os.fsencode(directory))
        self._lies = lies
        self._asked: tuple[Any, ...] = ()

    def do(self, what: str, *given: Any) -> Any:
        answer = self._actor.do(what, *given)
        return self._lies.get(what, answer)

    def begin(self, *asked: Any) -> None:
        self._asked = asked

    def end(self) -> Any:
        return self.do(*self._asked)

    def close(self) -> None:
        self._actor.close()


def results(directory: Path, **lies: Any) -> dict[str, str]:
    there = Beside(directory, **lies)
    try:
        return {each.key: each.result for each in spool_check.both(str(directory), there)}
    finally:
        there.close()


def asked(*words: str) -> tuple[int, dict[str, Any]]:
    done = CliRunner().invoke(main, ["check-spool", *words, "--json"])
    return done.exit_code, json.loads(done.output) if done.output.startswith("{") else {"said": done.output}


def test_a_local_directory_passes(tmp_path: Path) -> None:
    found = results(tmp_path)
    assert {key: result for key, result in found.items() if result != "ok" and not key.startswith("speed")} == {}
    assert found.keys() >= {
        "flock",
        "fcntl",
        "append",
        "size",
        "listing",
        "place",
        "exclusive",
        "link",
        "rename",
        "held",
    }


@pytest.mark.long
@pytest.mark.parametrize(
    ("what", "answer", "keys"),
    [
        ("lock", True, {"flock"}),
        ("size_anew", 0, {"size"}),
        ("read", "", {"same"}),
        ("names", [], {"listing"}),
        ("stamp", (1, 1), {"stamp"}),
        ("exclusive", list(range(spool_check.RACES)), {"exclusive"}),
        ("append", {"error": "ENOLCK"}, {"append"}),
    ],
)
def test_what_the_other_does_not_see_fails(what: str, answer: object, keys: set[str], tmp_path: Path) -> None:
    found = results(tmp_path, **{what: answer})
    assert keys <= {key for key, result in found.items() if result == "fails"}


def test_many_files_within_one_tick_of_the_clock_tell_no_grain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where syncing costs nothing, as in memory, dozens of files have one time."""
    monkeypatch.setattr(trying.durable, "sync", lambda number: None)
    assert results(tmp_path)["grain"] == "ok"


@pytest.mark.parametrize(
    ("times", "result"),
    [
        ([1, 4_000_001, 8_000_001], "ok"),
        ([1, 30_000_001], "note"),
        ([1_000_000_000, 2_000_000_000], "note"),
        ([5], "note"),
    ],
)
def test_the_grain_of_the_clock(times: list[int], result: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Actor, "try_times", lambda self, changes, seconds: times)
    assert results(tmp_path)["grain"] == result


def test_what_only_costs_time_is_noted(tmp_path: Path) -> None:
    found = results(tmp_path, size=0, heard=False)
    assert "fails" not in found.values()
    assert found["attributes"] == found["inotify"] == "note"


@pytest.mark.parametrize(("apart", "result"), [(1.0, "ok"), (90.0, "note"), (366 * 86400.0, "fails")])
def test_clocks_that_are_apart(apart: float, result: str, tmp_path: Path) -> None:
    who = Actor(os.fsencode(tmp_path))
    told = who.do("who")
    who.close()
    assert results(tmp_path, who={**told, "time": told["time"] + apart})["clock"] == result


@pytest.mark.long
def test_two_hosts_with_one_name_fail(tmp_path: Path) -> None:
    who = Actor(os.fsencode(tmp_path))
    told = who.do("who")
    who.close()
    assert results(tmp_path, who={**told, "boot": "another"})["host"] == "fails"
    assert results(tmp_path, who={**told, "boot": "another", "host": "another"})["host"] == "ok"


def test_the_command_asks_another_process_and_leaves_nothing(tmp_path: Path) -> None:
    status, found = asked(str(tmp_path), "--other-mount", str(tmp_path))
    assert status == 0, found
    assert found["ok"]
    assert "append" in {row["what"] for row in found["found"]}
    assert not list(tmp_path.iterdir())


def test_another_spool_is_told(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    done = CliRunner().invoke(main, ["check-spool", str(tmp_path / "here"), "--other-mount", str(tmp_path / "there")])
    assert done.exit_code != 0
    assert not list(tmp_path.glob("*/*"))


def test_who_does_not_answer_is_told(tmp_path: Path) -> None:
    status, found = asked(str(tmp_path), "--through", f"{sys.executable} -c pass")
    assert status == 78
    assert "no answer from" in found["said"]
    status, found = asked(str(tmp_path), "--through", "/nowhere/at/all")
    assert status == 78


def test_one_host_alone(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["check-spool", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "nothing is wrong that one host alone can see" in done.output
    assert not list(tmp_path.iterdir())


MOUNTS = [
    ("nfs4", "rw,vers=4.2,hard,local_lock=none", True),
    ("nfs", "rw,vers=3,nolock", False),
    ("nfs4", "rw,local_lock=all", False),
    ("cifs", "rw,cache=strict,nobrl", False),
    ("9p", "rw,cache=loose", False),
    ("fuse.glusterfs", "rw,attribute-timeout=0,entry-timeout=0,volfile-server=a", True),
    ("fuse.glusterfs", "rw,attribute-timeout=1,entry-timeout=0,volfile-server=a", False),
    ("fuse.glusterfs", "rw,volfile-server=a", False),
    ("ceph", "rw,acl", True),
]


@pytest.mark.parametrize(("kind", "options", "good"), MOUNTS)
def test_options_of_a_mount_that_lose_mail(
    kind: str, options: str, good: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"type": kind, "source": "server:/mail", "at": "/srv/mail", "options": options}
    monkeypatch.setattr(trying, "mount", lambda path: told)
    monkeypatch.setattr(spool_check, "mount", lambda path: told)
    status, found = asked(str(tmp_path))
    assert found["ok"] is good
    assert status == (0 if good else FAILED)
    if not good:
        assert found["change"]
        assert [row["what"] for row in found["found"] if row["result"] == "fails"] == ["mount"]


@pytest.mark.parametrize("kind", sorted(spool_check.ADVICE))
def test_every_kind_has_something_to_change(kind: str) -> None:
    assert spool_check.advice(kind)
    assert spool_check.advice("fuse.anything") == spool_check.ADVICE["fuse"]
    assert spool_check.advice("ext4") == ()


# --- before it is served ----------------------------------------------------------------------------


def settings(base: Path, **given: object) -> Any:
    return load(None, {"mail_location": f"maildir:{base}/%n/Maildir", "passwd_file": "/nowhere", **given})


def test_a_spool_that_is_not_shared_is_not_tried(tmp_path: Path) -> None:
    spool_check.demand_trusted(settings(tmp_path))
    assert not list(tmp_path.iterdir())


def test_one_that_cannot_be_trusted_is_not_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"type": "nfs4", "source": "server:/mail", "at": str(tmp_path), "options": "rw,local_lock=all"}
    monkeypatch.setattr(trying, "mount", lambda path: told)
    monkeypatch.setattr(spool_check, "mount", lambda path: told)
    with pytest.raises(ConfigError, match=r"cannot be trusted with mail that several hosts serve: .*local_lock=all"):
        spool_check.demand_trusted(settings(tmp_path, shared_spool="yes"))
    spool_check.demand_trusted(settings(tmp_path, shared_spool="yes", check_spool=False))
    spool_check.demand_trusted(settings(tmp_path, shared_spool="no"))
    monkeypatch.setattr(filesystems, "deaf_at", lambda directory: "nfs")
    with pytest.raises(ConfigError, match="cannot be trusted"):
        spool_check.demand_trusted(settings(tmp_path))


def test_a_host_with_another_ones_name_does_not_serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hosts.note(os.fsencode(tmp_path), hosts.Host(b"mail1", b"m1", (b"b1",)))
    monkeypatch.setattr(hosts, "own", lambda: hosts.Host(b"mail1", b"m2", (b"b2",)))
    with pytest.raises(ConfigError, match="another machine that is called mail1"):
        spool_check.demand_trusted(settings(tmp_path, shared_spool="yes"))


def test_where_nothing_is_above_all_mail_nothing_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_check, "alone", lambda path: pytest.fail("tried"))
    for location in ("maildir:~/Maildir", "maildir:/no/such/place/%n"):
        spool_check.demand_trusted(load(None, {"mail_location": location, "shared_spool": "yes"}))
