"""Dovecot's configuration is read as a tree, whichever version printed it and whoever wrote it."""

from __future__ import annotations

import pytest

from maildir_imapd.cli.dovecot_config import HIDDEN, parse
from maildir_imapd.errors import ConfigError


def test_blocks_stand_in_blocks_and_keep_their_names() -> None:
    tree = parse(
        """# 2.3.19.1 (9b53102964): /etc/dovecot/dovecot.conf
protocols = " imap lmtp"
namespace inbox {
  inbox = yes
  mailbox "Sent Messages" {
    special_use = \\Sent
  }
}
namespace {
  type = shared
}
service auth {
  unix_listener /var/spool/postfix/private/auth {
    mode = 0660
  }
}
"""
    )
    assert tree.printed
    assert tree.root.get("protocols").split() == ["imap", "lmtp"]
    first, second = tree.root.all("namespace")
    assert (str(first), first.get("inbox")) == ("namespace inbox", "yes")
    assert (first.blocks[0].name, first.blocks[0].get("special_use")) == ("Sent Messages", "\\Sent")
    assert (str(second), second.get("type")) == ("namespace", "shared")
    assert tree.root.all("service")[0].blocks[0].name == "/var/spool/postfix/private/auth"


def test_what_belongs_together_in_2_4_has_one_spelling() -> None:
    root = parse(
        """ssl_server {
  cert_file = /a
}
mail_plugins {
  acl = yes
  quota = no
}
passdb passwd-file {
  passwd_file_path = /b
}
userdb static {
  fields {
    uid:default = vmail
  }
}
passdb other {
  passdb_driver = sql
}
passdb pam {
}
"""
    ).root
    assert root.get("ssl_server_cert_file") == "/a"
    assert root.get("mail_plugins") == "acl"
    assert [str(block) for block in root.all("passdb")] == ["passdb passwd-file", "passdb other", "passdb pam"]
    assert root.all("passdb")[1].get("driver") == "sql"
    assert root.all("userdb")[0].all("fields")[0].get("uid:default") == "vmail"


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("plain login", "plain login"),
        ('"a # b"', "a # b"),
        ('"\\\\Sent \\"x\\""', '\\Sent "x"'),
        ("'it # is'", "it # is"),
        ("/a/b # why", "/a/b"),
        ("# nothing", ""),
        ("", ""),
        ("# hidden, use -P to show it", HIDDEN),
        ("a \\\n    b", "a b"),
        ("</etc/a#b", "</etc/a#b"),
    ],
)
def test_values(written: str, value: str) -> None:
    assert parse(f"x = {written}\n").root.get("x") == value


def test_a_plain_file_is_known_by_its_includes_or_its_head() -> None:
    assert not parse("mail_location = maildir:~/Maildir\n").printed
    tree = parse("!include conf.d/*.conf\n!include_try local.conf\n")
    assert [(include.name, include.value) for include in tree.includes] == [
        ("!include", "conf.d/*.conf"),
        ("!include_try", "local.conf"),
    ]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("}\n", "line 1"),
        ("a = b\nc {\n", "line 2"),
        ("\nroot:x:0:0\n", "line 2"),
        ("= b\n", "line 1"),
        ("a {\n" * 30, "line 20"),
    ],
)
def test_what_is_none_is_refused_with_its_line(text: str, where: str) -> None:
    with pytest.raises(ConfigError, match=where):
        parse(text)
