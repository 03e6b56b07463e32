"""THREAD (RFC 5256 3): ORDEREDSUBJECT, REFERENCES, and Dovecot's REFS.

Nothing here recurses, since a thread may be as deep as a mailbox is long, and every step is linear but for
sorting.  The one place that is not by itself is the check that a link closes no loop; it looks from both
ends at once, and there is a budget for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from maildir_imapd.message.header import decode_rfc2047, first, first_end
from maildir_imapd.message.order import base_subject, sent_date, short_key

# A message with more references than this keeps the last ones, which name its nearest ancestors.
REFERENCES_LIMIT = 1000

# RFC 5322 3.6.4: msg-id = [CFWS] "<" id-left "@" id-right ">" [CFWS]
_MSG_ID = re.compile(rb"<([^<>]*)>")
# One that nothing closes reaches to the end: looked for anew at each quote behind it, it would cost its square.
_QUOTED = re.compile(rb'"((?:[^"\\]|\\.)*+)("?)', re.DOTALL)
_PAIR = re.compile(rb"\\(.)", re.DOTALL)


class ThreadEntry(NamedTuple):
    """One message as THREAD needs to know it; cheap to keep, see ``entry``."""

    number: int
    message_id: bytes | None
    references: tuple[bytes, ...]
    subject: str  # base subject, folded
    reply: bool
    date: int  # sent date


class ThreadNode:
    """A message and the answers to it; number None is a message that is not there."""

    __slots__ = ("children", "number")

    def __init__(self, number: int | None, children: list[ThreadNode]) -> None:
        self.number = number
        self.children = children


def entry(number: int, header: bytes, received: int) -> ThreadEntry:
    """Take from a header what THREAD needs; *number* is whatever the answer shall show."""
    subject = first(header, b"SUBJECT")
    base, reply = base_subject("" if subject is None else decode_rfc2047(subject))
    ids = message_ids(first(header, b"MESSAGE-ID") or b"")
    references = message_ids(first_end(header, b"REFERENCES") or b"")[-REFERENCES_LIMIT:]
    if not references:
        # "use the first (if any) valid Message ID found in the In-Reply-To header line"
        references = message_ids(first(header, b"IN-REPLY-TO") or b"")[:1]
    return ThreadEntry(
        number, ids[0] if ids else None, tuple(references), short_key(base), reply, sent_date(header, received)
    )


def root_id(header: bytes) -> bytes | None:
    """Return the Message ID of the message that began the thread, as far as this header alone says; None if nothing.

    RFC 5322 3.6.4: references are those of the message that is answered, and it, so that the first of them is the root.
    """
    for name in (b"REFERENCES", b"IN-REPLY-TO", b"MESSAGE-ID"):
        ids = message_ids(first(header, name) or b"")
        if ids:
            return ids[0]
    return None


def message_ids(value: bytes) -> list[bytes]:
    """List the Message IDs in a field's value, without brackets, "normalize[d] ... to avoid false non-matches"."""
    found = []
    for text in _MSG_ID.findall(value):
        if b"@" not in text:
            continue
        if b'"' in text:
            text = _QUOTED.sub(_unquoted, text)
        found.append(b"".join(text.split()) if b" " in text or b"\t" in text else text)
    return found


def _unquoted(match: re.Match[bytes]) -> bytes:
    return _PAIR.sub(rb"\1", match[1]) if match[2] else match[0]


def ordered_subject(entries: Iterable[ThreadEntry]) -> list[ThreadNode]:
    """Thread by ORDEREDSUBJECT; *entries* in the order of the mailbox."""
    groups: dict[str, list[ThreadEntry]] = {}
    for one in sorted(entries, key=_date):
        groups.setdefault(one.subject, []).append(one)
    # a dictionary keeps its order: the groups already stand by the date of their first message
    return [ThreadNode(group[0].number, [ThreadNode(one.number, []) for one in group[1:]]) for group in groups.values()]


def references(entries: Sequence[ThreadEntry]) -> list[ThreadNode]:
    """Thread by REFERENCES; *entries* in the order of the mailbox."""
    roots = _pruned(_linked(entries))
    _sort(roots)
    roots = _merged(roots)
    for root in roots:
        _sort_below(root)
    _sort(roots)
    return _trees(roots)


def refs(entries: Sequence[ThreadEntry]) -> list[ThreadNode]:
    """Thread by REFS: as REFERENCES, but subjects do not count, and the thread with the newest message is last."""
    roots = _pruned(_linked(entries))
    newest = {}
    for root in roots:
        _sort_below(root)
        newest[root] = max((node.entry.date, node.order) for node in _walk(root) if node.entry is not None)
    return _trees(sorted(roots, key=newest.__getitem__))


def render_threads(threads: Iterable[ThreadNode]) -> bytes:
    """Render thread-list after thread-list (RFC 5256 5), without "* THREAD " and the line end."""
    out: list[bytes] = []
    for thread in threads:
        out.append(b"(")
        left: list[ThreadNode | bytes] = [b")", thread]
        while left:
            item = left.pop()
            if isinstance(item, bytes):
                out.append(item)
                continue
            # thread-members = nz-number *(SP nz-number) [SP thread-nested]
            if item.number is not None:
                out.append(b"%d" % item.number)
                if item.children:
                    out.append(b" ")
            if len(item.children) == 1:
                left.append(item.children[0])
            else:
                for child in reversed(item.children):
                    left += (b")", child, b"(")
    return b"".join(out)


# --- the steps ------------------------------------------------------------------------------------


class _Node:
    """A message, or a dummy (entry None) for one that is only referred to."""

    __slots__ = ("below", "children", "entry", "order", "parent")

    def __init__(self, entry: ThreadEntry | None, order: int) -> None:
        self.entry = entry
        self.order = order  # tie-breaker: "by sequence number"
        self.parent: _Node | None = None
        self.children: dict[_Node, None] = {}  # a set that keeps its order
        self.below: list[_Node] = []  # the children once dummies are gone


def _date(one: ThreadEntry) -> int:
    return one.date


def _linked(entries: Sequence[ThreadEntry]) -> list[_Node]:
    """Step 1: link parents and children."""
    table: dict[bytes, _Node] = {}
    messages: list[_Node] = []
    for order, one in enumerate(entries):
        node = _Node(one, order)
        # "If two or more messages have the same Message ID, then only use that Message ID in the first"
        if one.message_id is not None:
            table.setdefault(one.message_id, node)
        messages.append(node)
    nodes = list(messages)
    checks = _LoopCheck(64 * (len(entries) + sum(len(one.references) for one in entries)) + 100_000)
    for one, node in zip(entries, messages, strict=True):
        last: _Node | None = None
        for reference in one.references:
            this = table.get(reference)
            if this is None:
                this = table[reference] = _Node(None, 0)
                nodes.append(this)
            # (A) "If a message already has a parent, don't change the existing link."
            if last is not None and this.parent is None and not checks.closes_loop(last, this):
                this.parent = last
                last.children[this] = None
            last = this
        # (B) the last reference, "or NIL if there are no references", is the parent
        if node.parent is not None and node.parent is not last:
            del node.parent.children[node]
            node.parent = None
        if last is not None and node.parent is None and not checks.closes_loop(last, node):
            node.parent = last
            last.children[node] = None
    return nodes


class _LoopCheck:
    """Tells whether a link would close a loop.

    It walks up from the parent and down from the child in turn and stops when either walk ends, so that a
    deep thread that grows at its end and a wide one that gets a new root are both cheap.  Where hostile
    references defeat that, the budget ends, and no further link is made that would need a walk.
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget

    def closes_loop(self, parent: _Node, child: _Node) -> bool:
        if parent is child:
            return True
        if not child.children:
            return False
        up: _Node | None = parent
        down: list[Iterator[_Node]] = [iter(child.children)]
        while up is not None:
            if up is child:
                return True
            if self.budget <= 0:
                return up.parent is not None
            self.budget -= 1
            up = up.parent
            node = next(down[-1], None)
            if node is None:
                down.pop()
                if not down:
                    return False
            elif node is parent:
                return True
            elif node.children:
                down.append(iter(node.children))
        return False


def _pruned(nodes: list[_Node]) -> list[_Node]:
    """Steps 2 and 3: gather the roots, and give each dummy's children to what is above it."""
    roots = []
    for root in nodes:
        if root.parent is not None:
            continue
        left: list[tuple[_Node, _Node]] = [(child, root) for child in root.children]
        while left:
            node, above = left.pop()
            if node.entry is not None:
                above.below.append(node)
                above = node
            left.extend((child, above) for child in node.children)
        # "Do not promote the children if doing so would make them children of the root, unless there is
        # only one child."
        if root.entry is not None or len(root.below) > 1:
            roots.append(root)
        elif root.below:
            roots.append(root.below[0])
    return roots


def _key(node: _Node) -> tuple[int, int]:
    # "In the case of a dummy message, sort its children by sent date and then use the first child"
    if node.entry is None:
        node = node.below[0]
    assert node.entry is not None  # a dummy's children are messages
    return node.entry.date, node.order


def _sort(roots: list[_Node]) -> None:
    """Step 4: sort the top level only."""
    for root in roots:
        if root.entry is None:
            root.below.sort(key=_key)
    roots.sort(key=_key)


def _sort_below(root: _Node) -> None:
    """Step 6: sort each set of siblings."""
    for node in _walk(root):
        node.below.sort(key=_key)


def _walk(root: _Node) -> Iterator[_Node]:
    left = [root]
    while left:
        node = left.pop()
        yield node
        left.extend(node.below)


def _merged(roots: list[_Node]) -> list[_Node]:
    """Step 5: bring together the threads of one subject."""
    table: dict[str, _Node] = {}
    for node in roots:
        subject = _subject(node)
        there = table.get(subject)
        if not subject:
            continue
        if there is None or (
            there.entry is not None and (node.entry is None or (there.entry.reply and not node.entry.reply))
        ):
            table[subject] = node
    gone = set()
    made: dict[_Node, _Node] = {}
    for node in roots:
        subject = _subject(node)
        if not subject:
            continue
        there = table[subject]
        if there is node:
            continue
        gone.add(node)
        if there.entry is None:
            there.below.extend([node] if node.entry is not None else node.below)
        elif node.entry is not None and node.entry.reply and not there.entry.reply:
            there.below.append(node)
        else:
            dummy = _Node(None, 0)
            dummy.below = [there, node]
            made[there] = table[subject] = dummy
    return [made.get(node, node) for node in roots if node not in gone]


def _subject(node: _Node) -> str:
    if node.entry is None:
        node = node.below[0]
    assert node.entry is not None  # a dummy's children are messages
    return node.entry.subject


def _trees(roots: list[_Node]) -> list[ThreadNode]:
    threads = []
    for root in roots:
        top = _thread(root)
        threads.append(top)
        left = [(root, top)]
        while left:
            node, thread = left.pop()
            for child in node.below:
                made = _thread(child)
                thread.children.append(made)
                left.append((child, made))
    return threads


def _thread(node: _Node) -> ThreadNode:
    return ThreadNode(None if node.entry is None else node.entry.number, [])
