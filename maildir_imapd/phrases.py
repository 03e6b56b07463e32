"""Texts for people that may be said in another language than they are written in."""

from __future__ import annotations

# The languages there are, by tag (RFC 5646): the first is English and spoken until a client asks (RFC 5255 3.1), the
# second is English too, all others have a catalog.
TAGS = ("i-default", "en", "de", "fr")

# Fields that are texts themselves; all others hold numbers and names, which are the same in every language.
TEXTS = frozenset({"why", "expected"})


class Phrase(str):
    """An English text, made of a template and what fills its ``{name}`` fields; both stay readable.

    To whatever takes it for a str, a line of the log for one, it is the finished English text.
    """

    __slots__ = ("fields", "template")

    template: str
    fields: dict[str, object]

    def __new__(cls, template: str, /, **fields: object) -> Phrase:
        """Fill *template*; raises KeyError if a field is missing."""
        phrase = super().__new__(cls, template.format(**fields))
        phrase.template = template
        phrase.fields = fields
        return phrase
