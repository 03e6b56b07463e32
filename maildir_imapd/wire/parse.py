"""From a frame to a command: the table of all commands, and the short ones among them.

``parse`` raises ``ProtocolError``, and for a search ``BadCharsetName`` when its charset and ``UndefinedFilter`` when
its filter is unknown; nothing else, but for what *stored* raises.
"""

from __future__ import annotations

from collections.abc import Callable

from maildir_imapd.errors import UnknownCommand
from maildir_imapd.wire import abnf
from maildir_imapd.wire.buffer import Frame
from maildir_imapd.wire.commands import (
    Authenticate,
    Capability,
    Check,
    Close,
    Command,
    Compress,
    Copy,
    Create,
    Delete,
    Enable,
    Expunge,
    GetAcl,
    GetQuotaRoot,
    Id,
    Idle,
    Login,
    Logout,
    MyRights,
    Namespace,
    Noop,
    QResync,
    Rename,
    Select,
    StartTls,
    Store,
    Subscribe,
    UidBatches,
    Unauthenticate,
    Unselect,
    Unsubscribe,
)
from maildir_imapd.wire.cursor import Cursor, DecodeText, Stored, decode_ascii_or_utf8, no_filters
from maildir_imapd.wire.parse_append import parse_append, parse_replace
from maildir_imapd.wire.parse_fetch import parse_fetch
from maildir_imapd.wire.parse_list import parse_list, parse_lsub, parse_status, parse_xlist
from maildir_imapd.wire.parse_notify import parse_notify
from maildir_imapd.wire.parse_rights import (
    parse_comparator,
    parse_deleteacl,
    parse_getmetadata,
    parse_getquota,
    parse_language,
    parse_listrights,
    parse_setacl,
    parse_setmetadata,
    parse_setquota,
)
from maildir_imapd.wire.parse_search import (
    parse_cancel_update,
    parse_esearch,
    parse_search,
    parse_sort,
    parse_thread,
)
from maildir_imapd.wire.parse_urls import parse_genurlauth, parse_resetkey, parse_urlfetch

Parser = Callable[[Cursor, bytes, bool], Command]


def parse(frame: Frame, decode_text: DecodeText | None = None, stored: Stored = no_filters) -> Command:
    """Read a whole command; *decode_text* knows the charsets that SEARCH may name, *stored* its filters."""
    head = abnf.HEAD(frame.text)
    if head is None:
        return _complain(frame.text)
    tag, uid, name = head.groups()
    decode = decode_text or decode_ascii_or_utf8
    return parse_rest(frame, tag, name.upper(), uid is not None, head.end(), decode, stored)


def parse_rest(
    frame: Frame, tag: bytes, name: bytes, uid: bool, end: int, decode_text: DecodeText, stored: Stored
) -> Command:
    """As ``parse``, for who has read the head: the *name* in capitals, whether UID stands before it, where it ends."""
    if not uid:
        bare = BARE.get(name)
        if bare is not None:
            if end != len(frame.text):
                Cursor(frame.text, end).end()
            return bare(tag)
    parser = UID_PARSERS.get(name) if uid else PARSERS.get(name)
    if parser is None:
        return _complain(frame.text)
    return parser(Cursor(frame.text, end, frame.streamed, decode_text, stored), tag, uid)


def _complain(text: bytes) -> Command:
    """Say what is wrong with the head of a command."""
    at = Cursor(text)
    tag = abnf.TAG(text)
    if tag is None:
        at.fail("a tag")
    at.pos = tag.end()
    at.space()
    raise UnknownCommand


def peek_tag(text: bytes) -> bytes | None:
    """Return the tag that an answer to this text can carry, if it has one."""
    tag = abnf.TAG(text)
    if tag is None or text[tag.end() : tag.end() + 1] not in (b" ", b""):
        return None
    return tag[0]


def peek_command(text: bytes) -> tuple[bytes | None, bytes | None]:
    """Return tag and name, in capitals and with "UID " before it, of a command that need not be whole."""
    head = abnf.HEAD(text)
    if head is None:
        return peek_tag(text), None
    return head[1], (b"UID " if head[2] else b"") + head[3].upper()


def begins_command(line: bytes) -> bool:
    """Whether a line begins with a command that there is, and not with a header field that only looks like it."""
    head = abnf.HEAD(line)
    if head is None or head[1].endswith(b":"):
        return False
    name = head[3].upper()
    return name in UID_PARSERS if head[2] else name in BARE or name in PARSERS


# --- any state, not authenticated -----------------------------------------------------------------


def parse_id(at: Cursor, tag: bytes, _uid: bool) -> Id:
    """id = "ID" SP ("(" [string SP nstring *(SP string SP nstring)] ")" / nil) (RFC 2971)"""
    at.space()
    if at.nil():
        at.end()
        return Id(tag, None)
    at.open()
    params = []
    if not at.take(b")"):
        while True:
            name = at.string()
            at.space()
            params.append((name, at.nstring()))
            if not at.more():
                break
    at.end()
    return Id(tag, tuple(params))


def parse_authenticate(at: Cursor, tag: bytes, _uid: bool) -> Authenticate:
    """authenticate = "AUTHENTICATE" SP auth-type [SP (base64 / "=")] (RFC 4959)"""
    at.space()
    mechanism = at.atom().upper()
    initial = None
    if not at.at_end():
        at.space()
        initial = at.base64()
    at.end()
    return Authenticate(tag, mechanism, initial)


def parse_login(at: Cursor, tag: bytes, _uid: bool) -> Login:
    """login = "LOGIN" SP userid SP password"""
    at.space()
    user = at.astring()
    at.space()
    password = at.astring()
    at.end()
    return Login(tag, user, password)


# --- authenticated --------------------------------------------------------------------------------


def parse_enable(at: Cursor, tag: bytes, _uid: bool) -> Enable:
    """enable = "ENABLE" 1*(SP capability) (RFC 5161)"""
    at.space()
    names = [at.atom().upper()]
    while not at.at_end():
        at.space()
        names.append(at.atom().upper())
    return Enable(tag, tuple(names))


def parse_compress(at: Cursor, tag: bytes, _uid: bool) -> Compress:
    """compress = "COMPRESS" SP algorithm (RFC 4978)"""
    at.space()
    algorithm = at.atom().upper()
    at.end()
    return Compress(tag, algorithm)


def parse_select(at: Cursor, tag: bytes, _uid: bool) -> Select:
    """select = "SELECT" SP mailbox [select-params]"""
    return _select(at, tag, read_only=False)


def parse_examine(at: Cursor, tag: bytes, _uid: bool) -> Select:
    """examine = "EXAMINE" SP mailbox [select-params]"""
    return _select(at, tag, read_only=True)


def _select(at: Cursor, tag: bytes, *, read_only: bool) -> Select:
    at.space()
    mailbox = at.mailbox()
    condstore = False
    qresync = None
    if not at.at_end():
        # select-params = SP "(" select-param *(SP select-param) ")" (RFC 4466, 7162)
        at.space()
        at.open()
        while True:
            start = at.pos
            match at.label("a SELECT parameter"):
                case b"CONDSTORE":
                    condstore = True
                case b"QRESYNC" if qresync is None:
                    at.space()
                    qresync = _qresync(at)
                case _:
                    at.fail("a SELECT parameter", start)
            if not at.more():
                break
    at.end()
    return Select(tag, mailbox, read_only, condstore, qresync)


def _qresync(at: Cursor) -> QResync:
    """ "(" uidvalidity SP mod-sequence-value [SP known-uids] [SP seq-match-data] ")" (RFC 7162)"""
    at.open()
    uidvalidity = at.nz_number()
    at.space()
    modseq = at.modseq()
    known = seqs = uids = None
    if at.more():
        if not at.at(b"("):
            known = at.fixed_set("a set of UIDs without *")
        if known is None or at.more():
            at.open()
            seqs = at.fixed_set("a sequence set without *")
            at.space()
            uids = at.fixed_set("a set of UIDs without *")
            at.close()
            at.close()
    return QResync(uidvalidity, modseq, known, seqs, uids)


def parse_create(at: Cursor, tag: bytes, _uid: bool) -> Create:
    """create = "CREATE" SP mailbox [SP "(" "USE" SP "(" [use-attr *(SP use-attr)] ")" ")"] (RFC 4466, 6154)"""
    at.space()
    mailbox = at.mailbox()
    use: tuple[bytes, ...] = ()
    if not at.at_end():
        at.space()
        at.open()
        at.one_of(frozenset([b"USE"]), "a CREATE parameter")
        at.space()
        use = _use(at)
        at.close()
    at.end()
    return Create(tag, mailbox, use)


def _use(at: Cursor) -> tuple[bytes, ...]:
    at.open()
    attributes: list[bytes] = []
    if at.take(b")"):
        return ()
    while True:
        if not at.take(b"\\"):
            at.fail("a special-use attribute")
        attributes.append(b"\\" + at.atom())
        if not at.more():
            return tuple(attributes)


def parse_rename(at: Cursor, tag: bytes, _uid: bool) -> Rename:
    """rename = "RENAME" SP mailbox SP mailbox"""
    at.space()
    mailbox = at.mailbox()
    at.space()
    new_name = at.mailbox()
    at.end()
    return Rename(tag, mailbox, new_name)


def _one_mailbox(command: Callable[[bytes, bytes], Command]) -> Parser:
    """A command whose only argument is a mailbox."""

    def parse_one(at: Cursor, tag: bytes, _uid: bool) -> Command:
        at.space()
        mailbox = at.mailbox()
        at.end()
        return command(tag, mailbox)

    return parse_one


# --- selected -------------------------------------------------------------------------------------


def parse_uid_expunge(at: Cursor, tag: bytes, _uid: bool) -> Expunge:
    """uid-expunge = "UID" SP "EXPUNGE" SP sequence-set (RFC 4315)"""
    at.space()
    uids = at.number_set()
    at.end()
    return Expunge(tag, uids)


def parse_uid_batches(at: Cursor, tag: bytes, _uid: bool) -> UidBatches:
    """message-batches = "UIDBATCHES" SP nz-number [SP nz-number ":" nz-number] (RFC 10022)"""
    at.space()
    size = at.nz_number()
    batches = None
    if not at.at_end():
        at.space()
        first = at.nz_number()
        if not at.take(b":"):
            at.fail('":"')
        batches = first, at.nz_number()
    at.end()
    return UidBatches(tag, size, batches)


def parse_copy(at: Cursor, tag: bytes, uid: bool) -> Copy:
    """copy = "COPY" SP sequence-set SP mailbox"""
    return _copy(at, tag, uid, move=False)


def parse_move(at: Cursor, tag: bytes, uid: bool) -> Copy:
    """move = "MOVE" SP sequence-set SP mailbox (RFC 6851)"""
    return _copy(at, tag, uid, move=True)


def _copy(at: Cursor, tag: bytes, uid: bool, *, move: bool) -> Copy:
    at.space()
    numbers = at.number_set()
    at.space()
    mailbox = at.mailbox()
    at.end()
    return Copy(tag, numbers, mailbox, uid, move)


# store-att-flags = ["+" / "-"] "FLAGS" [".SILENT"]
_STORE_ACTIONS = {
    sign + b"FLAGS" + silent: (sign, bool(silent)) for sign in (b"", b"+", b"-") for silent in (b"", b".SILENT")
}


def parse_store(at: Cursor, tag: bytes, uid: bool) -> Store:
    """store = "STORE" SP sequence-set [store-modifiers] SP store-att-flags (RFC 3501, 4466, 7162)"""
    at.space()
    numbers = at.number_set()
    at.space()
    unchanged_since = None
    if at.begins():
        at.one_of(frozenset([b"UNCHANGEDSINCE"]), "a STORE modifier")
        at.space()
        unchanged_since = at.modseq()
        at.close()
        at.space()
    word = abnf.ATOM(at.text, at.pos)
    action = _STORE_ACTIONS.get(word[0].upper()) if word else None
    if word is None or action is None:
        at.fail("FLAGS, +FLAGS or -FLAGS")
    at.pos = word.end()
    at.space()
    # (flag-list / (flag *(SP flag)))
    if at.at(b"("):
        flags = at.flag_list()
        at.end()
    else:
        more = [at.flag()]
        while not at.at_end():
            at.space()
            more.append(at.flag())
        flags = tuple(more)
    return Store(tag, numbers, action[0], flags, action[1], uid, unchanged_since)


# --- the table ------------------------------------------------------------------------------------

BARE: dict[bytes, Callable[[bytes], Command]] = {
    b"CAPABILITY": Capability,
    b"CHECK": Check,
    b"CLOSE": Close,
    b"EXPUNGE": Expunge,
    b"IDLE": Idle,
    b"LOGOUT": Logout,
    b"NAMESPACE": Namespace,
    b"NOOP": Noop,
    b"STARTTLS": StartTls,
    b"UNAUTHENTICATE": Unauthenticate,
    b"UNSELECT": Unselect,
}

PARSERS: dict[bytes, Parser] = {
    b"APPEND": parse_append,
    b"AUTHENTICATE": parse_authenticate,
    b"CANCELUPDATE": parse_cancel_update,
    b"COMPARATOR": parse_comparator,
    b"COMPRESS": parse_compress,
    b"COPY": parse_copy,
    b"CREATE": parse_create,
    b"DELETE": _one_mailbox(Delete),
    b"DELETEACL": parse_deleteacl,
    b"ENABLE": parse_enable,
    b"ESEARCH": parse_esearch,
    b"EXAMINE": parse_examine,
    b"FETCH": parse_fetch,
    b"GENURLAUTH": parse_genurlauth,
    b"GETACL": _one_mailbox(GetAcl),
    b"GETMETADATA": parse_getmetadata,
    b"GETQUOTA": parse_getquota,
    b"GETQUOTAROOT": _one_mailbox(GetQuotaRoot),
    b"ID": parse_id,
    b"LANGUAGE": parse_language,
    b"LIST": parse_list,
    b"LISTRIGHTS": parse_listrights,
    b"LOGIN": parse_login,
    b"LSUB": parse_lsub,
    b"MOVE": parse_move,
    b"MYRIGHTS": _one_mailbox(MyRights),
    b"NOTIFY": parse_notify,
    b"RENAME": parse_rename,
    b"REPLACE": parse_replace,
    b"RESETKEY": parse_resetkey,
    b"SEARCH": parse_search,
    b"SELECT": parse_select,
    b"SETACL": parse_setacl,
    b"SETMETADATA": parse_setmetadata,
    b"SETQUOTA": parse_setquota,
    b"SORT": parse_sort,
    b"STATUS": parse_status,
    b"STORE": parse_store,
    b"SUBSCRIBE": _one_mailbox(Subscribe),
    b"THREAD": parse_thread,
    b"UIDBATCHES": parse_uid_batches,
    b"UNSUBSCRIBE": _one_mailbox(Unsubscribe),
    b"URLFETCH": parse_urlfetch,
    b"XLIST": parse_xlist,
}

UID_PARSERS: dict[bytes, Parser] = {
    b"COPY": parse_copy,
    b"ESEARCH": parse_esearch,
    b"EXPUNGE": parse_uid_expunge,
    b"FETCH": parse_fetch,
    b"MOVE": parse_move,
    b"REPLACE": parse_replace,
    b"SEARCH": parse_search,
    b"SORT": parse_sort,
    b"STORE": parse_store,
    b"THREAD": parse_thread,
}
