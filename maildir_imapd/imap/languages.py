"""The languages that texts for people can be had in, and which of them a client means.

The sources hold the texts in English; ``locale/TAG.po`` in the package holds what they are in another language.
``tests/test_languages.py`` finds every text that can be sent, and compares.
"""

from __future__ import annotations

import gettext
import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import polib

from maildir_imapd import mutf7
from maildir_imapd.phrases import TAGS, TEXTS, Phrase

# There are not as many texts without fields in the source, but a greeting is the administrator's.
TAILS = 2000
_LOCALE = Path(__file__).parent.parent / "locale"


@dataclass(frozen=True, slots=True)
class Catalog:
    """One language: its tag (RFC 5646), and its catalog, which is None for English."""

    tag: str
    catalog: gettext.NullTranslations | None = None
    tails: dict[tuple[bytes, str], bytes] = field(default_factory=dict, repr=False, compare=False)
    """Status responses from behind the tag on, by kind and text, once they have been said; ``TAILS`` of them at most.

    Threads fill it alike.
    """

    @property
    def utf8(self) -> bool:
        """Whether its texts go out in UTF-8; those of a client that has chosen none are ASCII (RFC 5255 3.5)."""
        return self is not DEFAULT

    def translate(self, text: str) -> str:
        """Say *text* in this language; what no catalog knows, such as a greeting of the administrator's, stays."""
        if self.catalog is None or not text:
            return text
        if not isinstance(text, Phrase):
            return self.catalog.gettext(text)
        fields = {
            name: self.translate(value) if name in TEXTS and isinstance(value, str) else value
            for name, value in text.fields.items()
        }
        return self.catalog.gettext(text.template).format(**fields)


def load(tag: str) -> Catalog:
    """Read the catalog of a language."""
    source = (_LOCALE / f"{tag}.po").read_text(encoding="utf-8")
    # The source is what is read, so nothing compiled can differ from it.
    return Catalog(tag, gettext.GNUTranslations(io.BytesIO(polib.pofile(source).to_binary())))


# RFC 5255 3.1: what every server speaks, and speaks until it is asked for another.
DEFAULT = Catalog("i-default")
# All of them, read when the program starts: later the thread may be somebody who cannot read them.
_BY_TAG = {"i-default": DEFAULT, "en": Catalog("en")} | {tag: load(tag) for tag in TAGS[2:]}

# First levels of namespace prefixes that have a translation.
PREFIXES = ("INBOX",)


def choose(ranges: Iterable[str], preferred: str) -> Catalog | None:
    """The first language that one of *ranges* means, None if none does; *preferred* is the tag of "default".

    Lookup of RFC 4647 3.4: a range is cut from its end until it is the tag of a language; "*" is whatever there is,
    once no other range fits.
    """
    ranges = tuple(ranges)
    for wanted in ranges:
        subtags = wanted.lower().split("-")
        if subtags == ["default"]:
            return _BY_TAG[preferred]
        while subtags:
            found = _BY_TAG.get("-".join(subtags))
            if found is not None:
                return found
            subtags.pop()
            # A single letter says what the subtags behind it are, and means nothing without them.
            if len(subtags) > 1 and len(subtags[-1]) == 1:
                subtags.pop()
    return _BY_TAG[preferred] if "*" in ranges else None


def translated_prefix(language: Catalog, prefix: str, delimiter: str) -> bytes | None:
    """A namespace's prefix as people read it, in modified UTF-7 (RFC 5255 3.4); None where it is the same."""
    name = prefix.removesuffix(delimiter)
    said = language.translate(name) if name in PREFIXES else name
    return None if said == name else mutf7.encode(said + delimiter)
