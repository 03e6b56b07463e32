"""Responses, as lines of bytes: all of them are made here, or of what is made here.

Strings pass through maildir_imapd.strings, mailbox names through ``mailbox``, text for people through
``human``; so nothing that came from a client or a message can end a line (robustness rule 18).
Functions whose name ends in ``_line`` give a whole response with its CRLF, those in ``_code`` what
stands in the brackets of a status response.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType

from maildir_imapd.strings import literal as literal
from maildir_imapd.strings import nstring as nstring
from maildir_imapd.strings import string as string
from maildir_imapd.wire import abnf
from maildir_imapd.wire.numbers import render_in_order, render_set
from maildir_imapd.wire.numbers import render_ranges as render_ranges

Pairs = Iterable[tuple[bytes, bytes]]

# --- parts ----------------------------------------------------------------------------------------

_NO_TEXT = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]").sub
_UNPRINTABLE = re.compile(rb"[^\x20-\x7e]").sub
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]").sub
_QUOTABLE8 = re.compile(rb"[\t\x20-\x7e\x80-\xff]*\Z").match
_ESCAPE = re.compile(rb'(["\\])').sub


@lru_cache(maxsize=512)
def human(text: str, *, utf8: bool = False) -> bytes:
    """Render text for people: one line of printable US-ASCII that nothing takes for a code.

    text = 1*TEXT-CHAR; a "[" at its beginning would open a response code.  With *utf8* (the client has chosen a
    language, RFC 5255 3.5) 1*UTF8-TEXT-CHAR.
    """
    text = " ".join(text.splitlines())
    line = _NO_TEXT("?", text).encode() if utf8 else _UNPRINTABLE(b"?", text.encode("ascii", "replace"))
    if line.startswith(b"["):
        line = b"(" + line[1:]
    return line or b"-"


def astring(value: bytes) -> bytes:
    """Render as an atom where that is possible; NIL and nothing at all are not."""
    atom = abnf.ASTRING_ATOM(value)
    if atom is not None and atom.end() == len(value) and value.upper() != b"NIL":
        return value
    return string(value)


def mailbox(raw: bytes, *, utf8: bool = False) -> bytes:
    """Render a mailbox name's octets; with *utf8* (RFC 6855 is enabled) 8-bit ones are quoted, too."""
    if utf8 and not raw.isascii() and _QUOTABLE8(raw):
        return b'"%b"' % _ESCAPE(rb"\\\1", raw)
    return astring(raw)


def render_flags(flags: Iterable[bytes]) -> bytes:
    """flag-list; the flags are not looked at: they came through the parser or from our own index."""
    return b"(%b)" % b" ".join(flags)


def delimiter_of(delimiter: bytes | None) -> bytes:
    """(DQUOTE QUOTED-CHAR DQUOTE / nil)"""
    return b"NIL" if delimiter is None else string(delimiter)


# --- status responses -----------------------------------------------------------------------------


def tagged(tag: bytes, status: bytes, text: str, code: bytes | None = None, *, utf8: bool = False) -> bytes:
    """response-tagged = tag SP resp-cond-state CRLF; *utf8* as in ``human``"""
    if code is None:
        return b"%b %b %b\r\n" % (tag, status, human(text, utf8=utf8))
    return b"%b %b [%b] %b\r\n" % (tag, status, _CONTROL(b"?", code), human(text, utf8=utf8))


def untagged(status: bytes, text: str, code: bytes | None = None) -> bytes:
    """ "*" SP (resp-cond-state / resp-cond-bye) CRLF"""
    return tagged(b"*", status, text, code)


def continuation(text: str = "OK", *, utf8: bool = False) -> bytes:
    """continue-req = "+" SP (resp-text / base64) CRLF; *utf8* as in ``human``"""
    return b"+ %b\r\n" % human(text, utf8=utf8)


def challenge(encoded: bytes) -> bytes:
    """A continue-req with base64, or with nothing."""
    return b"+ %b\r\n" % encoded


def appenduid_code(uidvalidity: int, uids: Iterable[int]) -> bytes:
    """resp-code-apnd; *uids* ascend (RFC 4315, 3502)."""
    return b"APPENDUID %d %b" % (uidvalidity, render_set(uids))


def copyuid_code(uidvalidity: int, copies: Sequence[tuple[int, int]]) -> bytes:
    """resp-code-copy from (source UID, new UID), the former ascending: they pair by position."""
    return b"COPYUID %d %b %b" % (
        uidvalidity,
        render_set([source for source, _ in copies]),
        render_in_order([target for _, target in copies]),
    )


def badcharset_code(names: Iterable[bytes]) -> bytes:
    """ "BADCHARSET" [SP "(" astring *(SP astring) ")" ]"""
    return b"BADCHARSET (%b)" % b" ".join([astring(name) for name in names])


# --- the session and the mailbox ------------------------------------------------------------------


def capability_line(names: Iterable[bytes]) -> bytes:
    """capability-data"""
    return b"* CAPABILITY %b\r\n" % b" ".join(names)


def enabled_line(names: Iterable[bytes]) -> bytes:
    """enable-data = "ENABLED" *(SP capability) (RFC 5161)"""
    return b" ".join([b"* ENABLED", *names]) + b"\r\n"


def id_line(params: Iterable[tuple[bytes, bytes | None]] | None) -> bytes:
    """id_response ::= "ID" SPACE id_params_list (RFC 2971)"""
    if params is None:
        return b"* ID NIL\r\n"
    return b"* ID (%b)\r\n" % b" ".join([b"%b %b" % (string(name), nstring(value)) for name, value in params])


Namespaces = Sequence[tuple[bytes, bytes | None]] | None


def namespace_line(
    personal: Namespaces,
    other: Namespaces = None,
    shared: Namespaces = None,
    *,
    translations: Mapping[bytes, bytes] = MappingProxyType({}),
) -> bytes:
    """Namespace-Response (RFC 2342), each namespace as (prefix, delimiter).

    *translations* are by prefix, in modified UTF-7 (RFC 5255 3.4).
    """
    kinds = [_namespace(descriptions, translations) for descriptions in (personal, other, shared)]
    return b"* NAMESPACE %b\r\n" % b" ".join(kinds)


def _namespace(descriptions: Namespaces, translations: Mapping[bytes, bytes]) -> bytes:
    if not descriptions:
        return b"NIL"
    found = []
    for prefix, delimiter in descriptions:
        said = translations.get(prefix)
        extension = b"" if said is None else b' "TRANSLATION" (%b)' % string(said)
        found.append(b"(%b %b%b)" % (string(prefix), delimiter_of(delimiter), extension))
    return b"(%b)" % b"".join(found)


def vanished_line(uids: Iterable[tuple[int, int]], *, earlier: bool = False) -> bytes:
    """expunged-resp = "VANISHED" [SP "(EARLIER)"] SP known-uids (RFC 7162); *uids* as ranges, at least one."""
    return b"* VANISHED %b%b\r\n" % (b"(EARLIER) " if earlier else b"", render_ranges(uids))


# --- mailboxes ------------------------------------------------------------------------------------


def list_line(
    kind: bytes,
    attributes: Iterable[bytes],
    delimiter: bytes | None,
    name: bytes,
    *,
    child_info: Iterable[bytes] = (),
    old_name: bytes | None = None,
    utf8: bool = False,
) -> bytes:
    """mailbox-list after *kind*: LIST, LSUB or XLIST (RFC 3501, 5258; OLDNAME of RFC 5465)."""
    extended = []
    if child_info := tuple(child_info):
        extended.append(b'"CHILDINFO" (%b)' % b" ".join([b'"%b"' % option for option in child_info]))
    if old_name is not None:
        extended.append(b'"OLDNAME" (%b)' % mailbox(old_name, utf8=utf8))
    return b"* %b %b %b %b%b\r\n" % (
        kind,
        render_flags(attributes),
        delimiter_of(delimiter),
        mailbox(name, utf8=utf8),
        b" (%b)" % b" ".join(extended) if extended else b"",
    )


def status_line(name: bytes, items: Pairs, *, utf8: bool = False) -> bytes:
    """ "STATUS" SP mailbox SP "(" [status-att-list] ")" from (item, rendered value)."""
    return b"* STATUS %b (%b)\r\n" % (mailbox(name, utf8=utf8), _joined(items))


def _joined(pairs: Pairs) -> bytes:
    return b" ".join([b"%b %b" % pair for pair in pairs])


def quota_line(root: bytes, resources: Iterable[tuple[bytes, int, int]]) -> bytes:
    """quota-response (RFC 9208) from (resource, usage, limit)."""
    return b"* QUOTA %b (%b)\r\n" % (astring(root), b" ".join([b"%b %d %d" % resource for resource in resources]))


def quotaroot_line(name: bytes, roots: Iterable[bytes], *, utf8: bool = False) -> bytes:
    """quotaroot-response = "QUOTAROOT" SP mailbox *(SP quota-root-name) (RFC 9208)"""
    return b"* QUOTAROOT %b\r\n" % b" ".join([mailbox(name, utf8=utf8), *[astring(root) for root in roots]])


def acl_line(name: bytes, rights: Pairs, *, utf8: bool = False) -> bytes:
    """acl-data = "ACL" SP mailbox *(SP identifier SP rights) (RFC 4314)"""
    entries = [b"%b %b" % (astring(identifier), astring(granted)) for identifier, granted in rights]
    return b"* ACL %b\r\n" % b" ".join([mailbox(name, utf8=utf8), *entries])


def listrights_line(name: bytes, identifier: bytes, rights: Iterable[bytes], *, utf8: bool = False) -> bytes:
    """listrights-data = "LISTRIGHTS" SP mailbox SP identifier SP rights *(SP rights) (RFC 4314)"""
    words = [mailbox(name, utf8=utf8), astring(identifier), *[astring(right) for right in rights]]
    return b"* LISTRIGHTS %b\r\n" % b" ".join(words)


def myrights_line(name: bytes, rights: bytes, *, utf8: bool = False) -> bytes:
    """myrights-data = "MYRIGHTS" SP mailbox SP rights (RFC 4314)"""
    return b"* MYRIGHTS %b %b\r\n" % (mailbox(name, utf8=utf8), astring(rights))


def metadata_line(name: bytes, entries: Iterable[tuple[bytes, bytes | None]], *, utf8: bool = False) -> bytes:
    """metadata-resp with entry-values (RFC 5464 4.4.1); a value with NUL goes as literal8."""
    values = [b"%b %b" % (astring(entry), _metadata_value(value)) for entry, value in entries]
    return b"* METADATA %b (%b)\r\n" % (mailbox(name, utf8=utf8), b" ".join(values))


def _metadata_value(value: bytes | None) -> bytes:
    """value = nstring / literal8"""
    return literal8(value) if value is not None and b"\0" in value else nstring(value)


def metadata_changed_line(name: bytes, entries: Iterable[bytes], *, utf8: bool = False) -> bytes:
    """metadata-resp with an entry-list, unasked (RFC 5464 4.4.2)."""
    words = [mailbox(name, utf8=utf8), *[astring(entry) for entry in entries]]
    return b"* METADATA %b\r\n" % b" ".join(words)


# --- searching ------------------------------------------------------------------------------------


def search_line(numbers: Iterable[int], modseq: int | None = None, *, kind: bytes = b"SEARCH") -> bytes:
    """ "SEARCH" *(SP nz-number), or SORT, with RFC 7162's mod-sequence after at least one number."""
    words = [b"* " + kind, *[b"%d" % number for number in numbers]]
    if modseq is not None and len(words) > 1:
        words.append(b"(MODSEQ %d)" % modseq)
    return b" ".join(words) + b"\r\n"


def search_words_line(words: Iterable[bytes]) -> bytes:
    """As ``search_line``, of numbers that are rendered already."""
    return b" ".join([b"* SEARCH", *words]) + b"\r\n"


def uidbatches_line(tag: bytes, ranges: Iterable[tuple[int, int]]) -> bytes:
    """uidbatches-response (RFC 10022) from UIDs (high, low), in the order given."""
    correlator = b"* UIDBATCHES (TAG " + string(tag) + b")"
    batches = b",".join([b"%d:%d" % pair for pair in ranges])
    return correlator + (b" " + batches if batches else b"") + b"\r\n"


def esearch_line(
    tag: bytes | None,
    uid: bool,
    pairs: Pairs,
    *,
    name: bytes | None = None,
    uidvalidity: int | None = None,
    utf8: bool = False,
) -> bytes:
    """esearch-response from (item, rendered value), with the correlators of RFC 4466 and 7377."""
    correlators = []
    if tag is not None:
        correlators.append(b"TAG " + string(tag))
    if name is not None:
        correlators.append(b"MAILBOX " + mailbox(name, utf8=utf8))
    if uidvalidity is not None:
        correlators.append(b"UIDVALIDITY %d" % uidvalidity)
    words = [b"* ESEARCH"]
    if correlators:
        words.append(b"(%b)" % b" ".join(correlators))
    if uid:
        words.append(b"UID")
    words += [b"%b %b" % pair for pair in pairs]
    return b" ".join(words) + b"\r\n"


# --- language -------------------------------------------------------------------------------------


def language_line(tags: Iterable[bytes]) -> bytes:
    """language-data = "LANGUAGE" SP "(" lang-tag-quoted *(SP lang-tag-quoted) ")" (RFC 5255)"""
    return b"* LANGUAGE (%b)\r\n" % b" ".join([string(tag) for tag in tags])


def comparator_line(active: bytes, matching: Iterable[bytes] = ()) -> bytes:
    """comparator-data = "COMPARATOR" SP comp-sel-quoted [SP "(" comp-id-quoted *(SP comp-id-quoted) ")"] (RFC 5255)"""
    found = b" ".join([string(name) for name in matching])
    return b"* COMPARATOR %b%b\r\n" % (string(active), b" (%b)" % found if found else b"")


def genurlauth_line(urls: Iterable[bytes]) -> bytes:
    """genurlauth-data = "*" SP "GENURLAUTH" 1*(SP url-full) (RFC 4467)"""
    return b"* GENURLAUTH %b\r\n" % b" ".join([string(url) for url in urls])


def literal8(value: bytes) -> bytes:
    """literal8 = "~{" number "}" CRLF *OCTET; the only form that can carry NUL."""
    return b"~{%d}\r\n%b" % (len(value), value)
