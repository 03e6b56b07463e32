"""The text between the tags of HTML and of what is like it, for PREVIEW and SEARCH.

The parser is the standard library's.  It is fed once and never closed: what is not whole by the end of the text
is looked for once, and left out.  Comments and declarations, which its releases read each in its own way, some
in quadratic time, are read here.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from html.parser import HTMLParser

# Robustness: a data: URL can be as long as the mail and has no text in it; of the rest so much is parsed, and so
# many tags of it, each of which is a call in Python.  Style sheets in real mail have 200 KiB.
LIMIT_CHARACTERS = 512 * 1024
TAGS_LIMIT = 20_000
_DATA_URL = re.compile("data:[^\"'<>\\s]{256,}+")

_ENTITY = re.compile("&(?:#[0-9]{1,40}+|#[xX][0-9a-fA-F]{1,40}+|[A-Za-z][A-Za-z0-9]{1,31}+);?")
# Entities of which the end may be in the next piece: the longest name has 31 letters.
_ENTITY_CHARACTERS = 45
# The number of a character that has more digits than any is none, and int() takes no more than 4300 of them.
_LONG_NUMBER = re.compile("&#(?:[0-9]{100,}+|[xX][0-9a-fA-F]{100,}+);?")

# Tags that end no word: HTML's phrasing content, and the styles of old.
_INLINE = frozenset(
    (
        *("a", "abbr", "acronym", "b", "bdi", "bdo", "big", "cite"),
        *("code", "data", "del", "dfn", "em", "font", "i", "ins", "kbd"),
        *("mark", "q", "s", "samp", "small", "span", "strike", "strong"),
        *("sub", "sup", "time", "tt", "u", "var", "wbr"),
    )
)
# RFC 1896: what a command of text/enriched takes stands between these.
_PARAM = "param"


def unescaped(text: str) -> str:
    """Put the characters there that entities stand for."""
    return _ENTITY.sub(lambda match: _character(match[0]), text)


def characters(text: str) -> set[str]:
    """Give what the entities in *text* stand for, each once."""
    return {found for entity in set(_ENTITY.findall(text)) if (found := _character(entity)) != entity}


@lru_cache(maxsize=4096)
def _character(entity: str) -> str:
    return html.unescape(entity)


def unescaped_pieces(pieces: Iterable[str]) -> Iterator[str]:
    """Do the same to a text in pieces; an entity may be cut in two."""
    behind = ""
    for piece in pieces:
        piece = behind + piece
        cut = piece.rfind("&", max(0, len(piece) - _ENTITY_CHARACTERS))
        behind = piece[cut:] if cut >= 0 and ";" not in piece[cut:] else ""
        yield unescaped(piece[:cut] if behind else piece)
    yield unescaped(behind)


def text_of_html(text: str, enough: int) -> str:
    """Give what is read of HTML, about *enough* characters of it if there are so many."""
    return _read(_Reader(frozenset({"style", "script", "title", "template"}), _INLINE, enough), text)


def text_of_enriched(text: str, enough: int) -> str:
    """The same of text/enriched (RFC 1896), where "<<" is a sign and "&" is none."""
    text = text[:LIMIT_CHARACTERS].replace("&", "&amp;").replace("<<", "&lt;")
    return _read(_Reader(frozenset({_PARAM}), None, enough), text)


class _Enough(Exception):
    """There is enough text."""


def _read(reader: _Reader, text: str) -> str:
    text = _LONG_NUMBER.sub("&#0;", _DATA_URL.sub("data:", text)[:LIMIT_CHARACTERS])
    try:
        reader.feed(text + "\n")  # the parser keeps an entity back that may go on
    except _Enough:
        pass
    return "".join(reader.found)


class _Reader(HTMLParser):
    """Gathers text; of what is in *hidden* elements there is none.

    Tags that are not *inline* (None: all are) end a word.
    """

    # What is in these is read up to their end tag, whatever stands there.  Final they are to typeshed alone.
    CDATA_CONTENT_ELEMENTS = ("script", "style", "title")  # type: ignore[misc]
    RCDATA_CONTENT_ELEMENTS = ()  # type: ignore[misc]

    def __init__(self, hidden: frozenset[str], inline: frozenset[str] | None, enough: int) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []
        self._hidden, self._inline = hidden, inline
        self._left, self._tags = enough, TAGS_LIMIT
        self._within: list[str] = []  # hidden elements that are open

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self._tag(tag)
        if tag in self._hidden:
            self._within.append(tag)

    def handle_endtag(self, tag: str) -> None:
        self._tag(tag)
        if self._within and self._within[-1] == tag:
            self._within.pop()

    def handle_data(self, data: str) -> None:
        if self._within:
            return
        words = " ".join(data.split())
        if not words or data[0].isspace():
            self._blank()
        if words:
            self.found.append(words)
            if data[-1].isspace():
                self._blank()
        self._left -= len(words)
        if self._left <= 0:
            raise _Enough

    def _blank(self) -> None:
        if self.found and self.found[-1] != " ":
            self.found.append(" ")

    def _tag(self, tag: str) -> None:
        self._tags -= 1
        if not self._tags:
            raise _Enough
        if self._inline is not None and tag not in self._inline:
            self._blank()

    def parse_html_declaration(self, i: int) -> int:
        """Give the end of what begins with "<!" at *i*, or -1."""
        return self.rawdata.find(">", i) + 1 or -1

    def parse_comment(self, i: int, report: bool = True) -> int:
        """Give the end of the comment that begins at *i*, or -1."""
        text = self.rawdata
        for short in ("<!-->", "<!--->"):
            if text.startswith(short, i):
                return i + len(short)
        end = text.find("-->", i + 4)
        return -1 if end < 0 else end + 3
