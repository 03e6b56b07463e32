"""HTTP as far as the server speaks it: what is read, what is refused, and that all of it is bounded."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from http import HTTPStatus

import pytest

from maildir_imapd.server.http_talk import (
    ANSWER_SECONDS,
    FIELDS,
    HEAD_OCTETS,
    LINGER_OCTETS,
    LINGER_SECONDS,
    REQUEST_SECONDS,
    TAKING_SECONDS,
    BadHttp,
    HttpConnection,
    parse,
    plain,
)

HEAD = b"GET /metrics HTTP/1.1\r\nHost: here\r\n"


@pytest.mark.parametrize(
    ("line", "path"),
    [
        (b"GET / HTTP/1.1", "/"),
        (b"HEAD /metrics?name=x HTTP/1.1", "/metrics"),
        (b"GET http://here/ready HTTP/1.1", "/ready"),
        (b"GET http://here HTTP/1.1", "/"),
        (b"GET /%2e%2e/x HTTP/1.1", "/%2e%2e/x"),
    ],
)
def test_request(line: bytes, path: str) -> None:
    found = parse(line + b"\r\nHost: here:80\r\naccept: a\r\nACCEPT:\t b ")
    assert (found.path, found.host, found.fields["accept"]) == (path, "here", "a, b")


def test_host_of_an_address_and_none() -> None:
    assert parse(b"GET / HTTP/1.1\r\nHost: [::1]:9798").host == "::1"
    assert parse(b"GET / HTTP/1.0").host == ""


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"", 400),
        (b"GET /", 400),
        (b"GET  / HTTP/1.1", 400),
        (b"GET / HTTP/1.1 ", 400),
        (b"GET / HTTP/1.1", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n folded", 400),
        (b"GET / HTTP/1.1\r\nHost : a", 400),
        (b"GET / HTTP/1.1\r\nHost: a\0b", 400),
        (b"GET / HTTP/1.1\r\nHost: a\rX: b", 400),
        (b"GET /\xc3\xa4 HTTP/1.1\r\nHost: a", 400),
        (b"GET here HTTP/1.1\r\nHost: a", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"PRI * HTTP/2.0", 505),
        (b"POST / HTTP/1.1\r\nHost: a", 405),
        (b"OPTIONS * HTTP/1.0", 405),
        (b"GET / HTTP/1.0" + b"\r\nA: b" * (FIELDS + 1), 431),
    ],
)
def test_no_request(head: bytes, status: int) -> None:
    with pytest.raises(BadHttp) as caught:
        parse(head)
    assert caught.value.status == status
    assert ("Allow" in caught.value.fields) == (status == 405)


@pytest.fixture
def both() -> Iterator[tuple[HttpConnection, socket.socket]]:
    ours, theirs = socket.socketpair()
    theirs.settimeout(10)
    connection = HttpConnection(ours, 100.0)
    with ours, theirs:
        yield connection, theirs


def test_in_pieces(both: tuple[HttpConnection, socket.socket]) -> None:
    connection, client = both
    for octet in b"\r\n" + HEAD + b"\r":
        client.send(bytes([octet]))
        assert connection.receive(101.0) is None
    client.send(b"\n")
    found = connection.receive(101.0)
    assert found is not None
    assert found.path == "/metrics"
    assert connection.asked
    assert connection.deadline == 101.0 + ANSWER_SECONDS


def test_time_for_a_request_is_not_prolonged_by_octets(both: tuple[HttpConnection, socket.socket]) -> None:
    connection, client = both
    client.send(HEAD)
    connection.receive(105.0)
    assert connection.deadline == 100.0 + REQUEST_SECONDS


def test_endless_fields(both: tuple[HttpConnection, socket.socket]) -> None:
    connection, client = both
    client.send(HEAD + b"X: " + b"x" * HEAD_OCTETS)
    with pytest.raises(BadHttp) as caught:
        connection.receive(100.0)
    assert caught.value.status == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE


def test_one_answer_however_many_requests(both: tuple[HttpConnection, socket.socket]) -> None:
    connection, client = both
    client.send((HEAD + b"\r\n") * 3)
    assert connection.receive(100.0) is not None
    assert not connection.reads
    connection.answer(plain(HTTPStatus.OK), 100.0)
    assert connection.deadline == 100.0 + LINGER_SECONDS
    client.send(HEAD + b"\r\n")
    assert connection.receive(100.0) is None
    assert not connection.over
    client.shutdown(socket.SHUT_WR)
    connection.receive(100.0)
    assert connection.over
    assert client.recv(65536).count(b"HTTP/1.1 200 OK\r\n") == 1


def test_what_is_passed_over_is_bounded(both: tuple[HttpConnection, socket.socket]) -> None:
    connection, client = both
    client.send(HEAD + b"\r\n")
    connection.receive(100.0)
    connection.answer(plain(HTTPStatus.OK), 100.0)
    client.setblocking(False)
    sent = 0
    while not connection.over:
        try:
            sent += client.send(b"x" * 65536)
        except BlockingIOError:
            pass
        connection.receive(100.0)
        assert sent <= 8 * LINGER_OCTETS


def test_head_gets_no_body_and_its_length(both: tuple[HttpConnection, socket.socket]) -> None:
    connection, client = both
    client.send(b"HEAD / HTTP/1.0\r\n\r\n")
    connection.receive(100.0)
    connection.answer(plain(HTTPStatus.NOT_FOUND), 100.0)
    said = client.recv(65536)
    assert b"\r\nContent-Length: 10\r\n" in said
    assert said.endswith(b"\r\n\r\n")


def test_a_slow_reader_has_its_time_and_no_more(both: tuple[HttpConnection, socket.socket]) -> None:
    connection, client = both
    client.send(HEAD + b"\r\n")
    connection.receive(100.0)
    connection.answer(plain(HTTPStatus.OK, "x" * (8 << 20)), 100.0)
    assert connection.writes
    assert not connection.reads
    client.recv(65536)
    connection.flush(110.0)
    assert connection.deadline == 100.0 + TAKING_SECONDS


def test_whoever_has_gone(both: tuple[HttpConnection, socket.socket]) -> None:
    connection, client = both
    client.close()
    assert connection.receive(100.0) is None
    assert connection.over
