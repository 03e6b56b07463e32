"""What all tests share: spools, sessions in memory, one running server."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from hypothesis import HealthCheck, settings  # after the path is set
from running import Running, start_server, stop_server
from spool import Spool

from maildir_imapd.log import Formatter

settings.register_profile(
    "project", max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
settings.load_profile("project")


@pytest.fixture
def caplog(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Its text is what an administrator reads: events with their fields."""
    caplog.handler.setFormatter(Formatter())
    return caplog


_own_temporary = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    """Put temporary files where no other run of pytest can close them to the mail users that tests become."""
    if hasattr(config, "workerinput") or config.option.basetemp or "PYTEST_DEBUG_TEMPROOT" in os.environ:
        return
    own = config.stash[_own_temporary] = tempfile.mkdtemp(prefix="mi-")
    os.chmod(own, 0o755)
    os.environ["PYTEST_DEBUG_TEMPROOT"] = own


# Directories and files whose tests are of the packages that ``scripts/test`` measures.
INNER = ("wire", "message", "auth", "imap", "store", "crash", "lmtp", "test_scripts.py", "test_normal.py")
# And those that try these packages in their own process, by commands on a spool or by a door without sockets.
INNER_FILES = {
    *(f"test_cli_{name}.py" for name in ("message", "mailbox", "index", "explain", "doctor", "known", "deliver")),
    *(f"test_cli_{name}.py" for name in ("adopt", "migrate", "acl", "check_spool")),
    *(f"test_server_{name}.py" for name in ("proxy", "door", "new_device", "accounts", "doctoring_shares", "virtuals")),
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is measured."""
    here = Path(__file__).parent
    for item in items:
        if not item.path.is_relative_to(here):
            continue
        if item.path.relative_to(here).parts[0] in INNER or item.path.name in INNER_FILES:
            item.add_marker(pytest.mark.inner)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Keep the files of a run that failed."""
    own = session.config.stash.get(_own_temporary, None)
    if own is not None:
        del os.environ["PYTEST_DEBUG_TEMPROOT"]
        if exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.config.add_cleanup(lambda: shutil.rmtree(own, ignore_errors=True))


@pytest.fixture(autouse=True)
def _log_as_before() -> Iterator[None]:
    """Commands set up the log of their process, which is the process of all tests here."""
    logger = logging.getLogger("maildir_imapd")
    before = logger.propagate, logger.level, logger.handlers[:]
    yield
    logger.propagate, logger.level, logger.handlers[:] = before


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """An empty spool of its own."""
    return Spool(tmp_path / "Maildir")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One server for all tests of a session."""
    running = start_server(tmp_path_factory.mktemp("server"))
    yield running
    stop_server(running)
    # A traceback in the log is a defect (robustness rule 20).
    log = (running.base / "log").read_text()
    assert "Traceback" not in log, log
