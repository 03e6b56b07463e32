"""nginx's auth_http protocol: who is let in, to which host, and against whom a wrong password counts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from asked import Asker, answering
from http_asker import Heard, hear

USERS = "ann:{PLAIN}se c%ret\nben@example.org:{PLAIN}secret::::::allow_nets=192.0.2.0/24\n"
HOSTS = ["one=192.0.2.1:143", "two=[2001:db8::2]:144"]


@pytest.fixture
def address(tmp_path: Path) -> Iterator[tuple[str, int]]:
    with answering(tmp_path, ["auth_http"], USERS, hosts=HOSTS, proxy_networks="127.0.0.1") as addresses:
        yield addresses["auth_http"]


def ask(address: tuple[str, int], user: str = "ann", password: str = "se%20c%25ret", **more: str) -> Heard:
    fields = {
        "Host": "localhost", "Auth-Method": "plain", "Auth-User": user, "Auth-Pass": password,
        "Auth-Protocol": "imap", "Auth-Login-Attempt": "1", "Client-IP": "192.0.2.9",
    }  # fmt: skip
    fields |= {name.replace("_", "-"): value for name, value in more.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return raw(address, f"GET /auth HTTP/1.0\r\n{head}\r\n".encode())


def raw(address: tuple[str, int], octets: bytes) -> Heard:
    with Asker(address) as asker:
        asker.send(octets)
        return hear(asker.sock)


def said(heard: Heard) -> dict[str, str]:
    assert heard.status == 200
    return {name: value for name, value in heard.fields.items() if name.startswith("auth-")}


def test_a_right_password(address: tuple[str, int], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    found = said(ask(address))
    assert found in (
        {"auth-status": "OK", "auth-server": "192.0.2.1", "auth-port": "143"},
        {"auth-status": "OK", "auth-server": "2001:db8::2", "auth-port": "144"},
    )
    assert said(ask(address)) == found
    assert "peer=192.0.2.9:0" in caplog.text


def test_the_name_as_it_is_written_says_nothing(address: tuple[str, int]) -> None:
    """The host is that of the user, however he spells himself."""
    names = ["ben@example.org", "BEN@example.org", "Ben%40Example.ORG"]
    assert len({said(ask(address, name, "secret"))["auth-server"] for name in names}) == 1


def test_a_wrong_password(address: tuple[str, int], caplog: pytest.LogCaptureFixture) -> None:
    wrong = {"auth-status": "[AUTHENTICATIONFAILED] Invalid user name or password", "auth-wait": "1"}
    assert said(ask(address, "ann", "wrong")) == wrong
    assert said(ask(address, "nobody", "wrong")) == wrong
    assert said(ask(address, "%ff", "wrong")) == wrong
    # In the end nginx is to hang up.
    assert "auth-wait" not in said(ask(address, "ann", "wrong", Auth_Login_Attempt="3"))
    assert "auth-wait" not in said(ask(address, "ann", "wrong", Auth_Login_Attempt="x"))
    assert "login failed" in caplog.text
    assert "peer=192.0.2.9:0" in caplog.text


def test_from_where_the_client_comes(address: tuple[str, int]) -> None:
    assert said(ask(address, "ben@example.org", "secret"))["auth-status"] == "OK"
    assert said(ask(address, "ben@example.org", "secret", Client_IP="198.51.100.1"))["auth-status"] != "OK"
    # Who says nothing comes from where nginx is.
    assert said(ask(address, "ben@example.org", "secret", Client_IP="192.0.2.1%eth0"))["auth-status"] != "OK"
    assert said(ask(address, "ben@example.org", "secret", Client_IP=""))["auth-status"] != "OK"


def test_who_is_not_believed(tmp_path: Path) -> None:
    """One that is none of proxy_networks speaks for itself."""
    with answering(tmp_path, ["auth_http"], USERS, hosts=HOSTS) as addresses:
        assert said(ask(addresses["auth_http"], "ben@example.org", "secret"))["auth-status"] != "OK"
        assert said(ask(addresses["auth_http"]))["auth-status"] == "OK"


def test_trouble_is_no_wrong_password(
    address: tuple[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from maildir_imapd.auth.chain import Tries

    def fails(*_: object) -> None:
        raise OSError("broken")

    monkeypatch.setattr(Tries, "identify", fails)
    assert said(ask(address)) == {"auth-status": "[UNAVAILABLE] This cannot be decided just now; try again later"}


@pytest.mark.parametrize("more", [{"Auth_Method": "cram-md5"}, {"Auth_Protocol": "smtp"}, {"Auth_Method": "none"}])
def test_what_is_no_login_of_ours(address: tuple[str, int], more: dict[str, str]) -> None:
    assert said(ask(address, **more)) == {"auth-status": "[CANNOT] There is IMAP with LOGIN and PLAIN here"}


@pytest.mark.parametrize(
    ("octets", "status"),
    [
        (b"POST /auth HTTP/1.0\r\n\r\n", 405),
        (b"nonsense\r\n\r\n", 400),
        (b"GET /auth HTTP/1.0\r\nAuth-User: a\x01b\r\n\r\n", 400),
    ],
)
def test_what_is_no_request(address: tuple[str, int], octets: bytes, status: int) -> None:
    assert raw(address, octets).status == status


def test_a_request_that_never_ends(address: tuple[str, int]) -> None:
    with Asker(address) as asker:
        asker.send(b"GET /auth HTTP/1.0\r\nX: " + b"y" * 9000)
        assert asker.rest() == b""
