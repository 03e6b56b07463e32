"""The back end that asks PAM whether a password is right, and the account's owner in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from maildir_imapd.auth.base import Identity, Password, address
from maildir_imapd.auth.beside import DOWN, RIGHT, WRONG, Answer, CheckedBeside
from maildir_imapd.auth.waiting import Until
from maildir_imapd.errors import ConfigError

# From security/_pam_types.h: those that say something of the user, in a word for the log.
_WRONG: Final = {
    6: "permission-denied",
    7: "",
    8: "credentials-insufficient",
    10: "",
    11: "too-many-tries",
    12: "password-expired",
    13: "account-expired",
    16: "credentials-expired",
}


class Pam(CheckedBeside):
    """Password by the PAM service that *questions* asks."""

    name = "pam"

    def _ask(self, user: str, credential: Password) -> Identity:
        host = str(address(credential.host) or "").encode()
        return Identity(self._questions.put(user, credential.password, host).decode())


def answer(service: str, *, session: bool) -> Answer:
    """Return what asks PAM, in a process that it may spoil: name, password and address to the name that it has for him.

    *session*: a session is opened and closed again, for modules that make a home or count logins.  Raises ConfigError.
    To be called while nothing is given up yet, for the library looks for libpam by running programs.
    """
    try:
        import pamela
    except (ImportError, OSError, AttributeError) as error:  # nor is there libpam on every system
        raise ConfigError("auth = pam needs libpam and the library pamela: install maildir-imapd[pam]") from error

    def asked(parts: Sequence[bytes], until: Until) -> bytes:
        user, password, host = parts
        # The function must live as long as PAM may call it.
        talk = pamela.new_simple_password_conv((password,), "utf-8")
        try:
            handle = pamela.pam_start(service, user, conv_func=talk)
            if host:
                handle.set_item(pamela.PAM_RHOST, host.decode())
            # The modules' own pauses after a wrong password are ours already (auth_failure_delay).
            found = _steps(pamela, handle, session=session)
            name = handle.get_item(pamela.PAM_USER)
            pamela.PAM_END(handle, found)
        except pamela.PAMError as error:
            return DOWN + str(error).encode()
        if found == pamela.PAM_SUCCESS:
            return RIGHT + (name or "").encode()
        if found in _WRONG:
            return WRONG + _WRONG[found].encode()
        return DOWN + f"{service}: {pamela.pam_strerror(handle, found)}".encode()

    return asked


def _steps(pamela: Any, handle: Any, *, session: bool) -> int:
    """Go through the phases of PAM, and return what the first that failed, or the last, has said."""
    for step in (pamela.PAM_AUTHENTICATE, pamela.PAM_ACCT_MGMT):
        found = int(step(handle, 0))
        if found:
            return found
    if not session:
        return 0
    found = int(pamela.PAM_SETCRED(handle, pamela.PAM_ESTABLISH_CRED))
    if not found:
        found = int(pamela.PAM_OPEN_SESSION(handle, 0))
        if not found:
            found = int(pamela.PAM_CLOSE_SESSION(handle, 0))
        pamela.PAM_SETCRED(handle, pamela.PAM_DELETE_CRED)
    return found
