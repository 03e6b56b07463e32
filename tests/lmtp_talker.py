"""A client of LMTP for tests: sends, reads answers, waits for them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from asked import Asker


class Lmtp(Asker):
    """One connection; every wait ends when the socket's time-out does, and that is a failure."""

    def __init__(self, address: tuple[str, int] | str, *, greeted: bool = True) -> None:
        super().__init__(address)
        try:
            if greeted:
                assert self.answer().startswith("220 ")
                assert self.command(b"LHLO client.example.org").startswith("250 ")
        except BaseException:
            self.close()
            raise

    def answer(self) -> str:
        """The next answer, its last line; "" when the server has closed."""
        while True:
            line = self.line().decode()
            if not re.match(r"\d{3}-", line):
                return line.removesuffix("\r\n")

    def command(self, line: bytes) -> str:
        self.send(line + b"\r\n")
        return self.answer()

    def begin(self, *recipients: str, sender: str = "sender@example.org") -> list[str]:
        """MAIL and RCPT; what is said to each recipient."""
        assert self.command(f"MAIL FROM:<{sender}>".encode()).startswith("250 ")
        return [self.command(f"RCPT TO:<{recipient}>".encode()) for recipient in recipients]

    def data(self, message: bytes, count: int = 1) -> list[str]:
        """DATA; the answers for so many recipients."""
        assert self.command(b"DATA").startswith("354 ")
        self.send(re.sub(rb"(?m)^\.", b"..", message) + b".\r\n")
        return [self.answer() for _ in range(count)]

    def deliver(self, message: bytes, *recipients: str) -> list[str]:
        """A message to recipients who are all taken; the answer for each."""
        said = self.begin(*recipients)
        assert all(each.startswith("250 ") for each in said), said
        return self.data(message, len(recipients))


def good(answers: Sequence[str]) -> bool:
    return bool(answers) and all(each == "250 2.1.5 Stored" for each in answers)
