from __future__ import annotations

import pytest

from maildir_imapd.message import markup
from maildir_imapd.message.markup import text_of_enriched, text_of_html, unescaped, unescaped_pieces


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("", ""),
        ("one", "one"),
        ("<p>one</p><p>two</p>", "one two"),
        ("o<b>n</b>e", "one"),
        ("<script>if (a<b) x('</p>')</script>one", "one"),
        ("<style>one", ""),
        ("one<a b='two", "one"),
        ("one &amp", "one &"),
        ("<textarea>one</textarea> <iframe>two</iframe>", "one two"),
        ("<a b=c d='>' e=\">\" f>one</a>", "one"),
    ],
)
def test_text_of_html(html: str, text: str) -> None:
    assert text_of_html(html, 800).strip() == text


def test_no_more_is_read_than_is_asked_for() -> None:
    text = text_of_html("<p>one</p>" * 1000, 30)
    assert text.split() == ["one"] * 10


def test_blanks_and_what_is_hidden_are_no_text() -> None:
    assert text_of_html("<p> \n </p>" * 1000 + "<style>x</style>" * 100 + "one", 10).split() == ["one"]


def test_tags_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(markup, "TAGS_LIMIT", 10)
    assert text_of_html("<br>" * 9 + "one", 10).split() == ["one"]
    assert text_of_html("<br>" * 10 + "one", 10).split() == []


def test_text_of_enriched() -> None:
    assert text_of_enriched("<fixed>a</fixed>b<<c>&lt;<color><param>x</param>d</color>", 100).strip() == "ab<c>&lt;d"


@pytest.mark.parametrize(("text", "plain"), [("a", "a"), ("&lt;&#97;&#x61;&uuml", "<aaü"), ("&#" + "9" * 30, "\ufffd")])
def test_unescaped(text: str, plain: str) -> None:
    assert unescaped(text) == plain


@pytest.mark.parametrize("size", range(1, 12))
def test_an_entity_that_is_cut_in_two(size: int) -> None:
    text = "M&uuml;ller &amp; S&#246;hne & Co&CounterClockwiseContourIntegral;&"
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    assert "".join(unescaped_pieces(pieces)) == "Müller & Söhne & Co∳&"
