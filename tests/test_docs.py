"""The manual says what the code does: made from it, complete, and readable."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import click
import pytest

from maildir_imapd.cli import main
from maildir_imapd.cli.group import STATUSES, each_command
from maildir_imapd.config import BY_NAME, SETTINGS, load
from maildir_imapd.server import settings as server_settings
from maildir_imapd.server.worker import Worker as _Worker  # noqa: F401  # every layer can be imported from here
from maildir_imapd.setting.auth import CHECKING, KNOWING
from maildir_imapd.store.index import cache, damage, index, lock
from maildir_imapd.store.maildir import attic, keywords
from maildir_imapd.store.neighbours import courier_keywords
from maildir_imapd.store.records import account_lock, hosts, renaming, subscriptions, texts, uidvalidity

ROOT = Path(__file__).parent.parent
PAGES = (
    *("maildir-imapd.8", "maildir-imapd-adopt.8", "maildir-imapd-user.8", "maildir-imapd-deliver.8"),
    *("maildir-imapd-mailbox.8", "maildir-imapd-message.8", "maildir-imapd-doctor.8", "maildir-imapd-control.8"),
    *("maildir-imapd-check-spool.8", "maildir-imapd.conf.5", "maildir-imapd-index.5"),
)


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("manual", ROOT / "scripts" / "manual.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def plain(name: str) -> str:
    """A page without its markup."""
    text = (ROOT / "man" / name).read_text()
    text = re.sub(r"\\f[A-Z]", "", text)
    for roff, char in (("\\-", "-"), ("\\(aq", "'"), ("\\(ti", "~"), ("\\(ha", "^"), ("\\&", ""), ("\\e", "\\")):
        text = text.replace(roff, char)
    return text


@pytest.mark.parametrize("name", PAGES)
def test_the_pages_are_what_the_code_makes(name: str) -> None:
    assert generator().pages()[name] == (ROOT / "man" / name).read_text(), "run scripts/man"


def test_every_setting_is_there() -> None:
    page = plain("maildir-imapd.conf.5")
    for setting in SETTINGS:
        assert f".BR {setting.name} " in page, setting.name
        assert setting.help in page, setting.name
        assert f"Default: {setting.default_text}." in page, setting.name
    for name in re.findall(r"^\.BR ([a-z_]+) \" = ", page, re.MULTILINE):
        assert name in {setting.name for setting in SETTINGS}


def test_every_command_is_there() -> None:
    pages = generator().OWN_PAGES

    def look(group: click.Group, prefix: str, page: str) -> None:
        for name, command in each_command(group):
            own, here = pages.get(name) if group is main else None, page
            if own is not None:
                assert f"See\n.BR maildir-imapd-{own} (8)." in page
                here = plain(f"maildir-imapd-{own}.8")
            if isinstance(command, click.Group):
                look(command, f"{prefix} {name}", here)
                continue
            assert f".SS {prefix} {name}" in here
            for param in command.params:
                if isinstance(param, click.Option) and param.name not in {setting.name for setting in SETTINGS}:
                    for word in param.opts:
                        assert word in here

    look(main, "maildir-imapd", plain("maildir-imapd.8"))


def test_the_first_page_names_all_others() -> None:
    _, _, also = plain("maildir-imapd.8").partition("SEE ALSO")
    for name in PAGES:
        title, _, section = name.rpartition(".")
        assert name == "maildir-imapd.8" or f"{title} ({section})" in also, name
    assert {path.name for path in (ROOT / "man").glob("*.[58]")} == set(PAGES)


def test_every_exit_status_is_there() -> None:
    page = plain("maildir-imapd.8")
    for status, words in STATUSES.items():
        assert f".B {status}\n{words}" in page


def test_every_file_on_disk_is_there() -> None:
    page = plain("maildir-imapd-index.5")
    for name in (
        lock.NAME,
        index.JOURNAL,
        index.CHECKPOINT,
        index.OLD,
        damage.DAMAGED,
        cache.NAME,
        keywords.NAME,
        courier_keywords.NAME,
        account_lock.LOCK,
        uidvalidity.NAME,
        renaming.INTENT,
        subscriptions.NAME,
        attic.TRASH,
        attic.NASCENT,
        texts.FILE,
        texts.LOCK,
        texts.ROLLBACK,
        hosts.NAME,
    ):
        assert name.decode() in page, name


def test_the_pages_say_the_numbers_of_the_code() -> None:
    from maildir_imapd.store.index import state

    page = plain("maildir-imapd-index.5").replace("\\ ", " ")
    assert index.ROTATE_OCTETS == 256 * 1024
    assert "256 KiB" in page
    assert f"the last {state.HISTORY_LIMIT:,} ranges".replace(",", " ") in page
    assert f"the last {state.TOMB_LIMIT:,}".replace(",", " ") in page
    assert state.TOMB_SECONDS == 14 * 86400
    assert "two\nweeks" in page


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_no_warning_from_the_formatter(name: str) -> None:
    tools = {
        "groff": ["groff", "-man", "-ww", "-Tutf8", "-z"],
        "mandoc": ["mandoc", "-Tlint", "-Wwarning"],
        "man": ["man", "--warnings=w", "-l"],
    }
    found = [words for tool, words in tools.items() if shutil.which(tool)]
    if not found:
        pytest.skip("neither groff nor mandoc nor man is installed")
    for words in found:
        done = subprocess.run([*words, str(ROOT / "man" / name)], capture_output=True, text=True)
        said = done.stderr if words[0] != "mandoc" else done.stdout
        # A minimal Debian has man without pages, or groff without its macros for other languages.
        assert not said.strip(), said


def test_readme_names_commands_and_options_that_exist() -> None:
    text = (ROOT / "README.md").read_text()
    options = {word for setting in SETTINGS for word in [setting.flag]} | {"--config", "--passwd-file"}
    for word in re.findall(r"(?<![\w-])(--[a-z][a-z-]+)", text):
        assert word in options or word in ("--fast", "--help"), word
    for name in re.findall(r"maildir-imapd ([a-z]+)\b", text):
        assert name in dict(each_command(main)), name
    for path in re.findall(r"\]\(([^)#]+)\)", text):
        assert (ROOT / path).exists(), path
    for script in re.findall(r"scripts/([a-z]+)", text):
        assert (ROOT / "scripts" / script).exists(), script


SHOWN = re.findall(r"^```toml\n(.*?)^```", (ROOT / "docs" / "authentication.md").read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("shown", SHOWN)
def test_the_examples_of_back_ends_are_settings_that_can_be_opened(shown: str, tmp_path: Path) -> None:
    """As far as they go without the programs that they ask, none of which is asked at the start."""
    for name in ("passwd", "ldap-password", "sql-password", "oauth-secret", "devices"):
        (tmp_path / name).write_text("secret\n" if name == "oauth-secret" else "")
    files = r"/etc/(?:mail|maildir-imapd)/(passwd|[a-z]+-password|oauth-secret|devices)\b"
    shown = re.sub(files, rf"{tmp_path}/\1", shown)
    for module in [name for name in ("pamela", "psycopg", "ldap") if importlib.util.find_spec(name) is None]:
        if {"pamela": "pam", "psycopg": "host=", "ldap": "ldap_"}[module] in shown:
            pytest.skip(f"{module} is not installed")
    (tmp_path / "conf").write_text(shown)
    # What goes with any back end is shown without one.
    alone = not re.search("^(auth|passwd_file) =", shown, re.MULTILINE)
    config = load(tmp_path / "conf", {"passwd_file": [str(tmp_path / "passwd")]} if alone else {})
    assert server_settings.chain(config).back_ends


# Words of other programs, and fields of the passwd-file.
ELSEWHERE = {"pam_mkhomedir", "allow_nets", "acts_for", "read_only", "dovecot_client_ip", "local_recipient_maps"}


CONFIGURATIONS = [
    pytest.param(text, id=f"{path.stem}-{number}")
    for path in sorted((ROOT / "docs").glob("*.md"))
    for number, text in enumerate(re.findall(r"^```toml\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL))
]


@pytest.mark.parametrize("text", CONFIGURATIONS)
def test_every_configuration_that_is_shown_can_be_read(text: str, tmp_path: Path) -> None:
    (tmp_path / "conf").write_text(text)
    load(tmp_path / "conf", {})


def test_every_page_of_the_documents_is_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text()
    for path in sorted((ROOT / "docs").glob("*.md")):
        assert f"(docs/{path.name})" in text, path.name


def test_links_between_the_documents_lead_somewhere() -> None:
    for path in sorted((ROOT / "docs").glob("*.md")):
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text()):
            assert (path.parent / link).exists(), (path.name, link)


def test_every_back_end_has_an_example_and_a_row() -> None:
    text = (ROOT / "docs" / "authentication.md").read_text()
    for name in {*CHECKING, *KNOWING}:
        row = f"| `{name}` | {'yes' if name in CHECKING else ''} | {'yes' if name in KNOWING else ''} |"
        assert row.replace("|  |", "| |") in text, name
        assert any(re.search(rf'"{name}"', shown) for shown in SHOWN), name
    for name in re.findall(r"`([a-z]+_[a-z_]+)`", text):
        assert name in BY_NAME or name in ELSEWHERE, name
