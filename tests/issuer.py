"""A small issuer of tokens on this machine: its keys, its tokens, and what it says of them."""

from __future__ import annotations

import base64
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs

from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey

AUDIENCE = "imap"


class Issuer:
    """Answers at /keys and /introspect until it is closed."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.tokens: dict[str, dict[str, Any]] = {}  # what introspection says, by token
        self.secret = "client:top secret"
        self.answer: bytes | None = None  # to everything, in place of the right one
        self.status = 200
        self.key: RSAKey | ECKey = RSAKey.generate_key(2048, {"kid": "first", "use": "sig"})
        self.keys: list[RSAKey | ECKey | OctKey] = [self.key]
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(issuer.key_set())

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                basic = base64.b64decode(self.headers["Authorization"].removeprefix("Basic ")).decode()
                good = basic == issuer.secret.replace(" ", "%20")
                said = issuer.tokens.get(parse_qs(body)["token"][0], {"active": False}) if good else {}
                self._answer(json.dumps(said).encode(), 200 if good else 401)

            def _answer(self, said: bytes, status: int = 200) -> None:
                issuer.asked.append(self.path)
                said = said if issuer.answer is None else issuer.answer
                self.send_response(status if issuer.status == 200 else issuer.status)
                self.send_header("Location", "/keys")
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, format: str, *args: object) -> None:  # the name of the base class
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def key_set(self) -> bytes:
        """The public keys, and whole ones that have no public half."""
        return json.dumps({"keys": [key.as_dict(private=isinstance(key, OctKey)) for key in self.keys]}).encode()

    def rotate(self, name: str, *, elliptic: bool = False) -> None:
        """Sign with a new key."""
        if elliptic:
            self.key = ECKey.generate_key("P-256", {"kid": name, "use": "sig", "alg": "ES256"})
        else:
            self.key = RSAKey.generate_key(2048, {"kid": name, "use": "sig"})
        self.keys.append(self.key)

    def token(
        self, claims: dict[str, Any] | None = None, *, header: dict[str, Any] | None = None, key: Any = None
    ) -> bytes:
        """Make a token of ann's; a claim or field that is None is left out."""
        alg = "ES256" if isinstance(self.key, ECKey) else "RS256"
        head = {"alg": alg, "kid": self.key.kid, **(header or {})}
        now = int(time.time())
        body = {
            "iss": self.url,
            "aud": AUDIENCE,
            "iat": now,
            "exp": now + 600,
            "email": "ann@example.org",
            **(claims or {}),
        }
        return jwt.encode(
            {name: value for name, value in head.items() if value is not None},
            {name: value for name, value in body.items() if value is not None},
            key if key is not None else self.key,
            algorithms=[head["alg"]],
        ).encode("ascii")
