"""The catalogs against the sources: every text that can be sent, in every language (RFC 5255 3.2)."""

from __future__ import annotations

import itertools
import re
import string
from pathlib import Path

import polib
import pytest
from imap_script import USER, Runner
from memory import MemoryWires
from spool import Spool
from texts import PACKAGE, spoken

from maildir_imapd.errors import BadMailboxName, BadSyntax
from maildir_imapd.imap.languages import DEFAULT, Catalog, choose, load, translated_prefix
from maildir_imapd.mutf7 import decode
from maildir_imapd.phrases import TAGS, Phrase
from maildir_imapd.store.account import Account
from maildir_imapd.store.maildir.layout import Places

CATALOGS = TAGS[2:]
SCRIPTS = sorted((Path(__file__).parent / "scripts").rglob("*.imap"))

# What the sources do not show is shown here to come from what they show.
PASSED_ON = {
    "errors.py: text",  # the constructor of all of them
    "imap/selected/fetch.py: missing.reason.text",  # of an error, whose texts are in errors.py
    "imap/engine.py: TOO_LONG[event.what]",  # every value is taken
    "imap/engine.py: done.text",  # from Done(...)
    "imap/engine.py: error.text",  # from an exception
    "imap/engine.py: goodbye.text",
    "imap/news/updates.py: refusal.text",  # from an exception
    "imap/engine.py: self._policy.greeting",  # the administrator's, and never after LANGUAGE
    "wire/cursor.py: expected",  # from fail(...)
    "wire/names.py: str(error)",  # from mutf7
}


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


@pytest.mark.slow
def test_all_texts_are_found() -> None:
    _, unclear = spoken()
    assert unclear == PASSED_ON


@pytest.mark.parametrize("tag", CATALOGS)
def test_a_catalog_has_every_text_and_no_other(tag: str) -> None:
    texts, _ = spoken()
    entries = polib.pofile(PACKAGE / "locale" / f"{tag}.po")
    translated = {entry.msgid for entry in entries if not entry.obsolete}
    missing = [str(polib.POEntry(msgid=text)) for text in sorted(texts - translated)]
    assert not missing, "not translated:\n\n" + "\n".join(missing)
    assert not translated - texts
    assert entries.percent_translated() == 100
    assert not [entry.msgid for entry in entries if entry.fuzzy]


@pytest.mark.parametrize("tag", CATALOGS)
def test_what_is_loaded_is_what_the_catalog_says(tag: str) -> None:
    language = load(tag)
    for entry in polib.pofile(PACKAGE / "locale" / f"{tag}.po"):
        assert language.translate(entry.msgid) == entry.msgstr


@pytest.mark.parametrize("tag", CATALOGS)
def test_placeholders_and_lines_match(tag: str) -> None:
    for entry in polib.pofile(PACKAGE / "locale" / f"{tag}.po"):
        assert fields(entry.msgid) == fields(entry.msgstr), entry.msgid
        # Nothing that would not be one line of UTF8-TEXT-CHAR (RFC 5255 3.5).
        assert not re.search("[\x00-\x1f\x7f-\x9f\u2028\u2029]", entry.msgstr), entry.msgid
        assert not entry.msgstr.startswith("["), entry.msgid
        assert entry.msgstr == entry.msgstr.strip(), entry.msgid


def test_there_is_a_catalog_for_each_language_and_no_other() -> None:
    assert {path.stem for path in (PACKAGE / "locale").iterdir()} == set(CATALOGS)


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_whatever_a_script_has_the_server_say_is_known(
    script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts, _ = spoken()
    heard: set[str] = set()
    translate = Catalog.translate

    def listen(language: Catalog, text: str) -> str:
        heard.update(templates(text))
        return translate(language, text)

    monkeypatch.setattr(Catalog, "translate", listen)
    spool = Spool(tmp_path / "Maildir", nested=script.parent.name == "fs")
    places = Places(bytes(spool.root), "fs" if spool.nested else "maildir++")
    Runner(spool, MemoryWires(Account(places, fsync="never")), {"user": USER}).run(script)
    unknown = {text for text in heard - texts if any(map(str.islower, re.sub(r"\{[a-z]+\}", "", text)))}
    # RFC 5255 3.2 lets the administrator's texts be what they are.
    assert unknown <= {"maildir-imapd ready"}


def templates(text: object) -> set[str]:
    if not isinstance(text, Phrase):
        return {str(text)}
    inner = (value for name, value in text.fields.items() if name in ("why", "expected"))
    return {text.template}.union(*map(templates, inner))


def test_a_text_inside_a_text_is_translated_and_a_name_is_not() -> None:
    german = load("de")
    assert german.translate(BadSyntax("a date", 7).text) == "Erwartet an Position 7: ein Datum"
    reserved = BadMailboxName(why=Phrase("the name {level} is reserved", level="a date"))
    assert german.translate(reserved.text).endswith(": der Name a date ist vergeben")
    assert str(reserved.text) == DEFAULT.translate(reserved.text)
    assert str(reserved.text) == "This mailbox name cannot be used: the name a date is reserved"


@pytest.mark.parametrize(
    ("ranges", "tag"),
    [
        # RFC 4647 3.4: a range is cut from its end, a single letter with what stood behind it.
        ("de", "de"),
        ("DE-at", "de"),
        ("de-a-foo-x-bar", "de"),
        ("fr-Latn-CA", "fr"),
        ("i-default", "i-default"),
        ("I-DEFAULT-x", "i-default"),
        ("en-GB-oed", "en"),
        ("it fr-CA de", "fr"),
        ("default", "fr"),
        ("it default", "fr"),
        ("* de", "de"),
        ("it *", "fr"),
        ("it", None),
        ("d", None),
        ("deu", None),
        ("x-de", None),
        ("i", None),
        ("default-x", None),
    ],
)
def test_which_language_is_meant(ranges: str, tag: str | None) -> None:
    found = choose(ranges.split(), "fr")
    assert (found.tag if found else None) == tag


def test_the_prefix_is_translated_only_where_it_is_known() -> None:
    for (language, prefix), said in zip(
        itertools.product((DEFAULT, load("fr")), ("", "INBOX.", "Mail.")),
        (None, None, None, None, "Boîte de réception.", None),
        strict=True,
    ):
        raw = translated_prefix(language, prefix, ".")
        assert (raw and decode(raw)) == said
