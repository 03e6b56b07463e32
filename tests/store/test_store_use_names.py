"""Special uses by name, in the languages of the clients that have made the mailboxes (RFC 6154)."""

from __future__ import annotations

import pytest

from maildir_imapd import normal
from maildir_imapd.store.records import special_use
from maildir_imapd.store.records.use_names import NAMES
from maildir_imapd.values import SPECIAL_USES


def uses(*names: str, delimiter: str = ".", **more: object) -> dict[str, bytes]:
    return {
        name: b" ".join(found)
        for name, found in special_use.by_name(names, delimiter, **more).items()  # type: ignore[arg-type]
    }


def test_a_name_has_one_meaning_and_is_spelled_as_names_are() -> None:
    seen: dict[str, bytes] = {}
    for use, names in NAMES:
        for name in names:
            assert normal.composed(name) == name
            assert "." not in name
            assert "/" not in name
            assert seen.setdefault(name.lower(), use) == use, name
    assert len(seen) == sum(len(names) for _, names in NAMES)
    assert {use.decode().removeprefix("\\") for use, _ in NAMES} == set(SPECIAL_USES)


@pytest.mark.parametrize(
    ("drafts", "sent", "trash", "junk"),
    [
        ("Drafts", "Sent Items", "Deleted Items", "Junk Email"),
        ("Entwürfe", "Gesendete Elemente", "Gelöschte Elemente", "Junk-E-Mail"),
        ("Entwürfe", "Gesendet", "Papierkorb", "Unerwünscht"),
        ("Brouillons", "Éléments envoyés", "Éléments supprimés", "Courrier indésirable"),
        ("Borradores", "Elementos enviados", "Elementos eliminados", "Correo no deseado"),
        ("Bozze", "Posta inviata", "Posta eliminata", "Posta indesiderata"),
        ("Concepten", "Verzonden items", "Verwijderde items", "Ongewenste e-mail"),
        ("Rascunhos", "Itens Enviados", "Itens Excluídos", "Lixo Eletrônico"),
        ("Kopie robocze", "Elementy wysłane", "Elementy usunięte", "Wiadomości-śmieci"),
        ("Черновики", "Отправленные", "Корзина", "Спам"),
        ("Utkast", "Skickat", "Borttaget", "Skräppost"),
        ("下書き", "送信済みアイテム", "削除済みアイテム", "迷惑メール"),
        ("草稿", "已发送邮件", "已删除邮件", "垃圾邮件"),
        ("[Gmail]/Drafts", "[Gmail]/Sent Mail", "[Gmail]/Bin", "[Gmail]/Spam"),
        ("[Google Mail]/Entwürfe", "[Google Mail]/Gesendet", "[Google Mail]/Papierkorb", "[Google Mail]/Spam"),
    ],
)
def test_languages(drafts: str, sent: str, trash: str, junk: str) -> None:
    expected = {drafts: b"\\Drafts", sent: b"\\Sent", trash: b"\\Trash", junk: b"\\Junk"}
    assert uses("INBOX", "Projekte", *expected, delimiter="/") == expected
    below = {f"INBOX/{name}": use for name, use in expected.items()}
    assert uses("INBOX", *below, delimiter="/") == below
    assert uses(*(name.upper() for name in expected), delimiter="/") == {n.upper(): u for n, u in expected.items()}


def test_one_of_several() -> None:
    assert uses("Gesendet", "Sent Items", "Sent") == {"Sent": b"\\Sent"}
    assert uses("Gesendet", "Sent Items") == {"Sent Items": b"\\Sent"}
    assert uses("[Gmail].Sent Mail", "Gesendet") == {"Gesendet": b"\\Sent"}
    assert uses("Work.Sent", "Work.Papierkorb", "Sent.Old") == {}


def test_what_was_chosen_goes_before_what_is_settled_and_that_before_names() -> None:
    names = ("Sent", "Gesendet", "Out", "Trash")
    assert uses(*names, settled={"Gesendet": b"\\Sent"}) == {"Gesendet": b"\\Sent", "Trash": b"\\Trash"}
    assert uses(*names, settled={"Gone": b"\\Sent"}) == {"Sent": b"\\Sent", "Trash": b"\\Trash"}
    chosen = {"Out": (b"\\Sent",), "Trash": ()}
    assert uses(*names, chosen=chosen, settled={"Sent": b"\\Sent", "Trash": b"\\Trash"}) == {"Out": b"\\Sent"}
    # One that is settled has no other use by its name.
    assert uses("Trash", "Bin", settled={"Trash": b"\\Junk"}) == {"Trash": b"\\Junk", "Bin": b"\\Trash"}
