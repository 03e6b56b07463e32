"""The terminals of the grammar, each a regex under the ABNF it comes from.

All of them match at a position (``match(text, pos)``), in linear time: no alternative can match what
another one matches, and repeats inside repeats are possessive.
"""

from __future__ import annotations

import re
from collections.abc import Callable

# RFC 3501 section 9:
#   atom-specials = "(" / ")" / "{" / SP / CTL / list-wildcards / quoted-specials / resp-specials
#   list-wildcards = "%" / "*"
#   quoted-specials = DQUOTE / "\"
#   resp-specials = "]"
#   ATOM-CHAR     = <any CHAR except atom-specials>
#   atom          = 1*ATOM-CHAR
_ATOM_CHAR = rb"!#$&'+,\-./0-9:;<=>?@A-Z\[^_`a-z|}~"
ATOM = re.compile(rb"[%b]+" % _ATOM_CHAR).match

#   ASTRING-CHAR  = ATOM-CHAR / resp-specials
#   astring       = 1*ASTRING-CHAR / string
ASTRING_ATOM = re.compile(rb"[%b\]]+" % _ATOM_CHAR).match

#   list-char     = ATOM-CHAR / list-wildcards / resp-specials
LIST_ATOM = re.compile(rb"[%b\]%%*]+" % _ATOM_CHAR).match

#   tag           = 1*<any ASTRING-CHAR except "+">
_TAG = rb"[%b\]]+" % _ATOM_CHAR.replace(b"+", b"", 1)
TAG = re.compile(_TAG).match

#   SP            = %x20
# Laxer: where the grammar has one there may be several.  The match may be empty, but there is one.
BLANKS: Callable[[bytes, int], re.Match[bytes]] = re.compile(rb" *+").match  # type: ignore[assignment]

#   command       = tag SP (command-any / command-auth / ...)
#   uid           = "UID" SP (copy / fetch / search / store)
# The head of a command in one go; the names of all commands are letters, a few experimental ones have
# digits and hyphens too.  Behind the tag there is one space: an empty name is no name.
HEAD = re.compile(rb"(%b) ([Uu][Ii][Dd] {1,9})?([A-Za-z][A-Za-z0-9\-]*+)" % _TAG).match

#   quoted        = DQUOTE *QUOTED-CHAR DQUOTE
#   QUOTED-CHAR   = <any TEXT-CHAR except quoted-specials> / "\" quoted-specials
#   TEXT-CHAR     = <any CHAR except CR and LF>
# Laxer: octets above 127, which RFC 6855 section 3 and RFC 9051 allow as UTF-8, and which clients send
# without having enabled anything (mutt).  Whoever uses the value decodes it, strictly.
QUOTED = re.compile(rb'"([^"\\\r\n\0]*+(?:\\["\\][^"\\\r\n\0]*+)*+)"').match
UNESCAPE = re.compile(rb"\\(.)").sub

#   literal       = "{" number ["+"] "}" CRLF *CHAR8          (RFC 7888 section 8)
#   literal8      = "~{" number ["+"] "}" CRLF *OCTET         (RFC 4466 section 3)
# Laxer: a bare LF, since that ends a line here (see buffer.py).
LITERAL = re.compile(rb"(~?)\{([0-9]{1,20})\+?\}\r?\n").match

#   number        = 1*DIGIT, nz-number = digit-nz *DIGIT
# The number of digits is looked at before int(): that is quadratic for thousands of them.
DIGITS = re.compile(rb"[0-9]+").match

#   seq-number    = nz-number / "*"
#   sequence-set  = (seq-number / seq-range) *("," sequence-set) / "$"     (RFC 5182)
# Only what may belong to one; numbers.py says what it means.
SET = re.compile(rb"[0-9*:,$]+").match

#   tagged-ext-label = ALPHA / "-" / "_" / "." , followed by those, DIGIT and ":"  (RFC 4466 section 3)
# Also the shape of the names of FETCH items, search keys and options.
LABEL = re.compile(rb"[A-Za-z\-_.][A-Za-z0-9\-_.:]*+").match
ITEM = re.compile(rb"[A-Za-z][A-Za-z0-9\-.]*+").match

#   section-part  = nz-number *("." nz-number)
PART = re.compile(rb"[1-9][0-9]{0,9}(?:\.[1-9][0-9]{0,9})*+").match

#   flag          = "\Answered" / ... / flag-keyword / flag-extension
#   flag-keyword  = atom,  flag-extension = "\" atom
FLAG = re.compile(rb"\\?[%b]+" % _ATOM_CHAR).match

#   base64        = *(4base64-char) [base64-terminal]
BASE64 = re.compile(rb"(?:[A-Za-z0-9+/]{4})*+(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?").fullmatch

#   language-range = (1*8ALPHA *("-" 1*8alphanum)) / "*"       (RFC 4647 section 2.1)
LANGUAGE_RANGE = re.compile(rb"[A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*+|\*").fullmatch

#   objectid      = 1*255(ALPHA / DIGIT / "_" / "-")           (RFC 8474 section 7)
OBJECT_ID = re.compile(rb"[A-Za-z0-9_\-]{1,255}").fullmatch

#   date-time     = DQUOTE date-day-fixed "-" date-month "-" date-year SP time SP zone DQUOTE
#   date-day-fixed = (SP DIGIT) / 2DIGIT
# Laxer: one digit without the space, which is how programs print it.
DATE_TIME = re.compile(
    rb"( [0-9]|[0-9]{1,2})-([A-Za-z]{3})-([0-9]{4}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) ([+-])([0-9]{2})([0-9]{2})"
).fullmatch

#   date          = date-text / DQUOTE date-text DQUOTE
#   date-text     = date-day "-" date-month "-" date-year
#   date-day      = 1*2DIGIT
DATE = re.compile(rb'("?)([0-9]{1,2})-([A-Za-z]{3})-([0-9]{4})\1').match

#   entries       = entry / "(" entry *(SP entry) ")"          (RFC 5464 section 5)
# How such a list begins, and a list of options does not.
ENTRIES = re.compile(rb'\( *+["/{]').match
