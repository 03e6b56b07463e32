"""Stored passwords as the programs make them that are there: each scheme of Dovecot's, each method of mkpasswd's."""

from __future__ import annotations

import subprocess

import pytest
from running import program

from maildir_imapd.auth import schemes

PASSWORD = "Grüße: 1"
# Dovecot's that keep a secret of exchanges that are not here, and those of old systems: of a hash that OpenSSL has no
# more, or of a part of the password.
FOREIGN = {"CRAM-MD5", "HMAC-MD5", "DIGEST-MD5", "LANMAN", "LM", "NTLM", "NT", "SKEY", "OTP", "RPA"}
FOREIGN |= {"PLAIN-MD4", "PLAIN-TRUNC"}


def lines(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def dovecot_schemes() -> list[str]:
    return [name for name in lines(program("doveadm"), "pw", "-l").split() if name not in FOREIGN]


@pytest.mark.slow
def test_every_scheme_of_dovecot() -> None:
    doveadm = program("doveadm")
    tried, refused = [], []
    for name in dovecot_schemes():
        stored = lines(doveadm, "pw", "-s", name, "-p", PASSWORD).strip()
        try:
            assert schemes.verify(stored, PASSWORD.encode()), stored
            assert not schemes.verify(stored, b"wrong"), stored
        except ValueError as error:
            refused.append(f"{name}: {error}")
        else:
            tried.append(name)
    assert refused == []
    assert {"SHA512-CRYPT", "SSHA256", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-1"} <= set(tried)


@pytest.mark.slow
def test_every_method_of_mkpasswd() -> None:
    mkpasswd = program("mkpasswd")
    methods = [line.split()[0] for line in lines(mkpasswd, "-m", "help").splitlines()[1:]]
    tried = []
    for method in methods:
        done = subprocess.run([mkpasswd, "-m", method, PASSWORD], capture_output=True, text=True)
        if done.returncode:
            continue  # the crypt(3) of this machine knows the name and has no such method
        stored = "{CRYPT}" + done.stdout.strip()
        try:
            assert schemes.verify(stored, PASSWORD.encode()), method
            assert not schemes.verify(stored, b"wrong"), method
        except ValueError as error:
            pytest.fail(f"{method}: {error}")
        tried.append(method)
    assert {"yescrypt", "sha512crypt", "bcrypt"} <= set(tried) or {"yescrypt", "sha-512"} <= set(tried), tried
