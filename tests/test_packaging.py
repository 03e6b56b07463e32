"""All that a distribution is to have is named where packages are made of it."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from maildir_imapd import __released__, __version__

ROOT = Path(__file__).parent.parent
# Nobody but who works on it from the repository needs these.
REPOSITORY = {".gitignore"}
# What setuptools takes along by itself.
TAKEN = {"MANIFEST.in", "maildir_imapd", "setup.cfg", "setup.py"}


def settings() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def test_the_source_distribution_has_everything() -> None:
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("this is no repository")
    # Somebody else's repository is read by root alone with these words.
    words = ["git", "-c", f"safe.directory={ROOT}", "-C", str(ROOT), "ls-files"]
    tracked = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
    tops = {name.split("/")[0] for name in tracked}
    manifest = (ROOT / "MANIFEST.in").read_text()
    named = {word for line in re.findall(r"^(?:include|graft) (.*)$", manifest, re.MULTILINE) for word in line.split()}
    assert tops - TAKEN - REPOSITORY == named


def test_the_wheel_has_every_page_and_completion() -> None:
    files = settings()["options.data_files"]
    patterns = [pattern for value in files.values() for pattern in value.split()]
    found = {path for pattern in patterns for path in ROOT.glob(pattern)}
    assert found == {*(ROOT / "man").glob("*.[58]"), *(ROOT / "contrib" / "completion").iterdir()}


def test_the_version_is_everywhere_the_same() -> None:
    assert (ROOT / "debian" / "changelog").read_text().startswith(f"maildir-imapd ({__version__}) ")
    assert f"## {__version__} ({__released__})" in (ROOT / "CHANGELOG.md").read_text()
    assert settings()["metadata"]["version"] == "attr: maildir_imapd.__version__"


def test_the_metadata_is_whole() -> None:
    metadata = settings()["metadata"]
    for name in ("name", "version", "description", "long_description", "author", "license", "classifiers", "keywords"):
        assert metadata[name].strip(), name


def test_debians_names_of_libraries() -> None:
    """Each requirement that is called otherwise there, or is not there, has its line."""
    overrides = (ROOT / "debian" / "py3dist-overrides").read_text()
    named = {line.split()[0] for line in overrides.splitlines()}
    required = settings()["options"]["install_requires"]
    names = {re.split(r"[ <>=]", line.strip())[0] for line in required.splitlines() if line.strip()[:1].isalpha()}
    assert named == {"libpass", "argon2_cffi", "legacycrypt", "scramp"}
    assert {name.replace("-", "_") for name in names} >= named
