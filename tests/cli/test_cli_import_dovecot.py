"""Dovecot's configuration becomes ours: each setting is carried over, is harmless, or is named with what it means.

``configurations`` has what programs that set mail servers up have as their defaults, in short, as ``doveconf -n`` would
print it, each with all that comes of it.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from maildir_imapd.cli import main
from maildir_imapd.cli.dovecot_tables import HARMLESS, MEANINGS, PLUGINS, meaning
from maildir_imapd.config import load
from maildir_imapd.errors import ConfigError

CONFIGURATIONS = Path(__file__).parent / "configurations"
HEAD = "# 2.3.19.1 (9b53102964): /etc/dovecot/dovecot.conf\n"
HEAD_24 = "# 2.4.1-4 (7d8c0e5759): /etc/dovecot/dovecot.conf\n"


def told(text: str, tmp_path: Path, status: int = 0) -> tuple[dict[str, object], str]:
    """What is printed, as settings and as text; unless something is refused it must be a configuration that loads."""
    source = tmp_path / "theirs"
    source.write_text(text)
    done = CliRunner().invoke(main, ["import-config", str(source)])
    assert done.exit_code == status, done.output
    ours = tmp_path / "ours.conf"
    ours.write_text(done.stdout)
    if status == 0:
        load(ours, {})
    else:
        with pytest.raises(ConfigError, match="mail_location"):
            load(ours, {})
    return tomllib.loads(done.stdout), done.stdout


@pytest.mark.parametrize("path", sorted(CONFIGURATIONS.glob("*.conf")), ids=lambda path: path.stem)
def test_what_comes_of_it(path: Path, tmp_path: Path) -> None:
    expected = path.with_suffix(".expected").read_text()
    _, text = told(path.read_text(), tmp_path, status=1 if "# Refused:" in expected else 0)
    assert text == expected


def test_what_is_set_up_for_mailboxes(tmp_path: Path) -> None:
    text = """
mail_location = maildir:~/Maildir
passdb {
  driver = passwd-file
  args = /etc/dovecot/users
}
namespace inbox {
  inbox = yes
  separator = /
  mailbox Trash {
    auto = subscribe
    autoexpunge = 4 weeks
    autoexpunge_max_mails = 1000
    special_use = \\Trash
  }
  mailbox Papierkorb {
    auto = create
    special_use = \\Trash
  }
  mailbox Old/Rubbish {
    autoexpunge = 30d
    special_use = \\Trash
  }
  mailbox All {
    special_use = \\All
  }
  mailbox Lists/* {
    autoexpunge = 12h
  }
  mailbox Odd {
    autoexpunge = soon
  }
  mailbox Plain {
    auto = no
  }
}
"""
    settings, printed = told(HEAD + text, tmp_path)
    assert settings["mailboxes"] == [
        "Trash: use=Trash, auto=subscribe, autoexpunge=4w, autoexpunge_count=1000",
        "Papierkorb: auto=create",
        "Old/Rubbish: autoexpunge=30d",
    ]
    notes = [line for line in printed.splitlines() if line.startswith("#   mailbox")]
    assert [line.split(":")[0] for line in notes] == [
        "#   mailbox Old/Rubbish",
        "#   mailbox All",
        "#   mailbox Lists/*",
        "#   mailbox Odd",
    ]
    assert "it is not announced as \\Trash, which Trash is" in notes[0]


PERSONAL = """
mail_location = maildir:~/Maildir
namespace inbox {
  inbox = yes
  prefix = INBOX/
  separator = /
}
"""


# As 2.4.1 prints it.
DOVECOT_24 = """
# 2.4.1-4 (7d8c0e5759): /etc/dovecot/dovecot.conf
dovecot_config_version = 2.4.0
dovecot_storage_version = 2.4.0
listen = 127.0.0.1 ::1
mail_control_path = /var/ctl/%{user}
mail_driver = maildir
mail_gid = vmail
mail_inbox_path = .
mail_index_path = MEMORY
mail_path = /srv/mail/%{user | domain}/%{user | username}/Maildir
mail_plugins {
  acl = yes
}
mail_uid = vmail
mailbox_list_utf8 = no
ssl_server {
  cert_file = /etc/ssl/mail.pem
  dh_file = /etc/dovecot/dh.pem
  key_file = /etc/ssl/mail.key
}
passdb passwd-file {
  passwd_file_path = /etc/dovecot/users
}
passdb pam {
}
passdb more {
  driver = sql
}
userdb static {
  fields {
    uid = vmail
  }
}
namespace inbox {
  inbox = yes
  mailbox_list_layout = fs
  prefix = INBOX.
  separator = .
}
protocol imap {
  mail_max_userip_connections = 30
}
"""


def test_what_2_4_prints(tmp_path: Path) -> None:
    settings, text = told(DOVECOT_24, tmp_path)
    assert settings == {
        "imap": ["127.0.0.1:143", "[::1]:143"],
        "imaps": ["127.0.0.1:993", "[::1]:993"],
        "plaintext_login": "loopback",
        "mail_location": "maildir:/srv/mail/%d/%n/Maildir:LAYOUT=fs:CONTROL=/var/ctl/%u",
        "mail_user": "vmail",
        "prefix": "INBOX.",
        "delimiter": ".",
        "passwd_file": "/etc/dovecot/users",
        "auth": ["passwd-file", "pam"],
        "userdb": "static",
        "auth_static": "uid=vmail",
        "pam_service": "dovecot",
        "tls_cert": "/etc/ssl/mail.pem",
        "tls_key": "/etc/ssl/mail.key",
        "connections_per_user_and_address": 30,
        "connections_per_user": 0,
    }
    assert text.partition("# Not carried over:\n")[2] == (
        "#   passdb sql: set auth = sql, and sql_connect, sql_password_query and sql_user_query: until then its users "
        "cannot log in\n"
    )


def test_the_layout(tmp_path: Path) -> None:
    """Dovecot's is Maildir++ where none is said; of 2.4 fs may be meant, for doveconf leaves that out."""
    new = "mail_driver = maildir\nmail_path = ~/Maildir\n"
    for written, ours in (
        (HEAD_24 + new, "maildir:~/Maildir"),
        (f"{HEAD_24}{new}mailbox_list_layout = maildir++\n", "maildir:~/Maildir:LAYOUT=maildir++"),
        (new, "maildir:~/Maildir:LAYOUT=maildir++"),
        (f"{HEAD}mail_location = maildir:~/Maildir\n", "maildir:~/Maildir:LAYOUT=maildir++"),
        (f"{HEAD}mail_location = maildir:~/Maildir:LAYOUT=fs\n", "maildir:~/Maildir:LAYOUT=fs"),
    ):
        settings, _ = told(written, tmp_path)
        assert settings["mail_location"] == ours


def test_a_shared_namespace_changes_nothing_for_the_personal_one(tmp_path: Path) -> None:
    shared = """namespace shared {
  type = shared
  location = maildir:%%h/Maildir:INDEX=~/shared/%%u
  prefix = shared/%%u/
  separator = /
  list = children
  subscriptions = no
}
namespace {
  type = public
  location = maildir:/srv/public
  prefix = Public/
  subscriptions = no
}
mail_plugins = acl
"""
    for text in (shared + PERSONAL, PERSONAL + shared):
        settings, _ = told(HEAD + text, tmp_path)
        assert (settings["mail_location"], settings["prefix"]) == ("maildir:~/Maildir:LAYOUT=maildir++", "INBOX/")
        assert (
            settings["namespaces"]
            == [
                "shared/%u/: type=others, list=children",
                "Public/: type=public, list=yes, location=maildir:/srv/public:LAYOUT=maildir++",
            ]
            or settings["namespaces"]
            == [
                "shared/%u/: type=others, list=children",
                "Public/: type=public, list=yes, location=maildir:/srv/public:LAYOUT=maildir++",
            ][::-1]
        )


@pytest.mark.parametrize(
    ("block", "ours"),
    [
        (
            "type=shared\nprefix=user/%%n/\nlocation=maildir:/srv/%%d/%%n",
            "user/%n/: type=others, list=yes, location=maildir:/srv/%d/%n:LAYOUT=maildir++",
        ),
        ("prefix=INBOX.\nseparator=.\nhidden=yes\nlist=no\nalias_for=", "INBOX/: type=alias"),
        (
            "prefix=Archive/\nlocation=maildir:~/Archive:LAYOUT=fs",
            "Archive/: type=personal, list=yes, location=maildir:~/Archive:LAYOUT=fs, subscriptions=there",
        ),
        (
            "type=public\nprefix=A/B/\nlocation=maildir:/a,,b:INDEXPVT=~/p\nlist=no\nsubscriptions=no",
            (
                "A/B/: type=public, list=no, private_seen=yes, private_index=~/p, "
                "location=maildir:/a,,,,b:LAYOUT=maildir++, rights=lrswipektxa"
            ),
        ),
        (
            "prefix=Virtual/\nlocation=virtual:/etc/dovecot/virtual:INDEX=~/virtual\nsubscriptions=no",
            "Virtual/: type=virtual, list=yes, location=virtual:/etc/dovecot/virtual",
        ),
        (
            "prefix=V.\nseparator=.\nlocation=virtual:~/v:LAYOUT=maildir++\nlist=children",
            "V/: type=virtual, list=children, location=virtual:~/v:LAYOUT=maildir++",
        ),
    ],
)
def test_namespaces(block: str, ours: str, tmp_path: Path) -> None:
    lines = "\n".join(f"  {line.replace('=', ' = ', 1)}" for line in block.split("\n"))
    settings, _ = told(f"{HEAD}{PERSONAL}namespace {{\n{lines}\n}}\n", tmp_path)
    assert settings["namespaces"] == [ours]


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ("prefix = Virtual/\nlocation = virtual:virtual", "the virtual mailboxes under Virtual/ are not there"),
        ("type = public\nprefix = P/\nlocation = mbox:/srv/p", "nobody sees the mailboxes under P/"),
        ("type = shared\nprefix = %%u/\nlocation = maildir:%%h/Maildir", "users do not see mailboxes of others"),
        ("prefix = Old/\nalias_for = Other/", "clients that are set to the prefix Old/ find nothing there"),
    ],
)
def test_namespaces_that_are_not_served(block: str, said: str, tmp_path: Path) -> None:
    settings, text = told(f"{HEAD}{PERSONAL}namespace x {{\n{block}\n}}\n", tmp_path)
    assert "namespaces" not in settings
    assert f"namespace x: {said}" in text


def test_a_shared_namespace_of_2_4(tmp_path: Path) -> None:
    text = (
        DOVECOT_24
        + """namespace shared {
  type = shared
  prefix = shared/$user/
  mail_driver = maildir
  mail_path = %{owner_home}/Maildir
  mail_index_private_path = ~/shared/%{owner_user}
  list = children
}
"""
    )
    settings, said = told(text, tmp_path)
    (rule,) = settings["namespaces"]
    assert rule.startswith("shared/%u/: type=others, list=children, private_seen=yes, private_index=~/shared/%%u")
    assert "nothing seen" not in said


@pytest.mark.parametrize(
    ("path", "ours"),
    [
        ("~/shared/%%u", "~/shared/%%u"),
        ("/var/seen/%d/%n/%%Lu/", "/var/seen/%d/%n/%%u"),
        ("%h/seen/%%n@%%d", "%h/seen/%%n@%%d"),
        ("seen/%%u", ""),
        ("~/shared/%%h", ""),
    ],
)
def test_where_readers_have_what_they_have_seen(path: str, ours: str, tmp_path: Path) -> None:
    block = f"  type = shared\n  prefix = shared/%%u/\n  location = maildir:/srv/%%u/Maildir:INDEXPVT={path}\n"
    settings, said = told(f"{HEAD}{PERSONAL}namespace {{\n{block}}}\n", tmp_path)
    (rule,) = settings["namespaces"]
    assert "private_seen=yes" in rule
    assert (f"private_index={ours}," in rule) is bool(ours)
    assert ("readers begin with nothing seen" in said) is not bool(ours)


@pytest.mark.parametrize("driver", ["ldap", "sql", "dict", "lua"])
def test_the_settings_of_a_database_are_no_users(driver: str, tmp_path: Path) -> None:
    block = f"{{\n  args = /etc/dovecot/dovecot-{driver}.conf.ext\n  driver = {driver}\n}}\n"
    settings, said = told(f"{HEAD}{PERSONAL}passdb {block}userdb {block}", tmp_path)
    assert "passwd_file" not in settings
    where = f"/etc/dovecot/dovecot-{driver}.conf.ext"
    if driver in ("ldap", "sql"):
        assert f"set auth = {driver}, and {driver}_" in said
        assert f" by {where}: until then its users cannot log in" in said
    else:
        assert f"the users whom {driver} finds ({where}) cannot log in" in said
    assert "auth" not in settings
    assert f"userdb {driver}: " in said


def test_who_is_asked_and_in_which_order(tmp_path: Path) -> None:
    blocks = """auth_username_format = %Lu
auth_default_realm = example.org
first_valid_uid = 500
passdb {
  driver = passwd-file
  args = scheme=CRYPT /etc/mail/%d/passwd
}
passdb {
  driver = pam
  args = session=yes imap-users
}
passdb {
  driver = passwd-file
  args = /etc/mail/others
}
passdb {
  driver = checkpassword
  args = /usr/bin/checkpassword -x
}
userdb {
  driver = passwd
}
userdb {
  driver = passwd-file
  args = /etc/mail/others
}
"""
    settings, said = told(HEAD + PERSONAL + blocks, tmp_path)
    ours = ("auth", "userdb", "passwd_file", "pam_service", "pam_session", "auth_command", "auth_username_format")
    assert {name: settings[name] for name in ours} == {
        "auth": ["passwd-file", "pam", "command"],
        "userdb": ["system", "passwd-file"],
        "passwd_file": ["/etc/mail/%d/passwd", "/etc/mail/others"],
        "pam_service": "imap-users",
        "pam_session": True,
        "auth_command": "/usr/bin/checkpassword -x",
        "auth_username_format": "%Lu",
    }
    assert (settings["auth_default_realm"], settings["system_first_uid"]) == ("example.org", 500)
    assert "passdb" not in said
    assert "userdb {" not in said


def test_homes_that_are_the_same_for_all(tmp_path: Path) -> None:
    static = "userdb {\n  driver = static\n  args = uid=vmail gid=vmail home=/srv/%d/%n\n}\n"
    settings, _ = told(f"{HEAD}{PERSONAL}passdb {{\n  driver = pam\n}}\n{static}", tmp_path)
    assert (settings["auth"], settings["userdb"], settings["mail_user"]) == ("pam", "static", "vmail")
    assert settings["auth_static"] == ["home=/srv/%d/%n", "uid=vmail"]
    settings, _ = told(f"{HEAD}{PERSONAL}passdb {{\n  driver = passwd-file\n  args = /u\n}}\n{static}", tmp_path)
    assert not {"auth", "userdb", "auth_static"} & set(settings)


SQL_24 = """
mail_driver = maildir
mail_path = ~/Maildir
sql_driver = {driver}
{database}
passdb sql {{
  default_password_scheme = BLF-CRYPT
  query = SELECT password FROM u WHERE name = '%{{user | username | lower}}' AND domain = '%{{user | domain | lower}}'
}}
userdb sql {{
  query = SELECT home FROM u WHERE name = '%{{user | lower}}'
}}
"""


@pytest.mark.parametrize(
    ("driver", "database", "where"),
    [
        ("sqlite", "sqlite_path = /srv/users.db", "sqlite:/srv/users.db"),
        (
            "pgsql",
            "pgsql db.example.org {\n  parameters {\n  dbname = mail\n  user = reader\n  password = secret\n  }\n}",
            "host=db.example.org dbname=mail user=reader",
        ),
        ("mysql", "mysql db {\n  dbname = mail\n}", None),
    ],
)
def test_queries_that_stand_in_it(driver: str, database: str, where: str | None, tmp_path: Path) -> None:
    settings, said = told(HEAD_24 + SQL_24.format(driver=driver, database=database), tmp_path)
    if where is None:
        assert "sql_connect" not in settings
        assert "set auth = sql" in said
        return
    assert (settings["auth"], settings["sql_connect"], settings["sql_password_scheme"]) == ("sql", where, "BLF-CRYPT")
    assert settings["sql_password_query"] == "SELECT password FROM u WHERE name = '%Ln' AND domain = '%Ld'"
    assert settings["sql_user_query"] == "SELECT home FROM u WHERE name = '%Lu'"
    assert "secret" not in said
    assert ("sql_password_file" in said) == (driver == "pgsql")


LDAP_24 = """
mail_driver = maildir
mail_path = ~/Maildir
ldap_uris = ldaps://one.example.org ldaps://two.example.org
ldap_base = ou=people,dc=example,dc=org
ldap_auth_dn = cn=imap,dc=example,dc=org
ldap_auth_dn_password = secret
passdb ldap {{
  bind = {bind}
  filter = (&(objectClass=posixAccount)(uid=%{{user | username}}))
}}
userdb ldap {{
  filter = (&(objectClass=posixAccount)(uid=%{{user | username}}))
  fields {{
    home = %{{ldap:homeDirectory}}
    quota_rule = *:bytes=%{{ldap:mailQuota}}
  }}
}}
"""


def test_a_directory_whose_settings_stand_in_it(tmp_path: Path) -> None:
    settings, said = told(HEAD_24 + LDAP_24.format(bind="yes"), tmp_path)
    assert {
        name: value for name, value in settings.items() if name in ("auth", "userdb") or name.startswith("ldap")
    } == {
        "auth": "ldap",
        "ldap_uri": ["ldaps://one.example.org", "ldaps://two.example.org"],
        "ldap_base": "ou=people,dc=example,dc=org",
        "ldap_filter": "(&(objectClass=posixAccount)(uid=%n))",
        "ldap_bind_dn": "cn=imap,dc=example,dc=org",
        "ldap_user_attributes": ["homeDirectory=home", "mailQuota=quota_rule=*:bytes=%$"],
    }
    assert "secret" not in said
    assert "ldap_bind_password_file" in said
    # Where it compares hashes itself, ours would need another right.
    settings, said = told(HEAD_24 + LDAP_24.format(bind="no"), tmp_path)
    assert "auth" not in settings
    assert "set auth = ldap" in said


def test_master_users_are_not_the_users(tmp_path: Path) -> None:
    masters = "passdb {\n  args = /etc/dovecot/masters\n  driver = passwd-file\n  master = yes\n}\n"
    users = "passdb {\n  args = /etc/dovecot/users\n  driver = passwd-file\n}\n"
    settings, said = told(HEAD + PERSONAL + masters, tmp_path)
    assert "passwd_file" not in settings
    assert settings["auth_master_file"] == "/etc/dovecot/masters"
    assert "master" not in said.replace("auth_master_file", "").replace("/etc/dovecot/masters", "")
    twice = masters + masters.replace("masters", "more")
    _, said = told(HEAD + PERSONAL + twice, tmp_path)
    assert "master users of /etc/dovecot/more cannot log in as others" in said
    settings, _ = told(HEAD + PERSONAL + masters + users, tmp_path)
    assert settings["passwd_file"] == "/etc/dovecot/users"


def test_who_is_locked_out_there_is_named(tmp_path: Path) -> None:
    denied = "passdb {\n  args = /etc/dovecot/deny\n  driver = passwd-file\n  deny = yes\n}\n"
    settings, said = told(HEAD + PERSONAL + denied, tmp_path)
    assert "passwd_file" not in settings
    assert "give them nologin" in said


@pytest.mark.parametrize(
    "place",
    [
        "frobnicate = 1\n",
        "plugin {\n  frobnicate = 1\n}\n",
        "protocol imap {\n  frobnicate = 1\n}\n",
        "passdb {\n  driver = passwd-file\n  args = /x\n  frobnicate = 1\n}\n",
        "namespace inbox {\n  inbox = yes\n  frobnicate = 1\n}\n",
        "namespace inbox {\n  inbox = yes\n  mailbox a {\n    frobnicate = 1\n  }\n}\n",
        "remote 10.0.0.1 {\n  frobnicate = 1\n}\n",
        "odd block {\n  frobnicate = 1\n}\n",
    ],
)
def test_nothing_is_passed_over_because_nobody_knows_it(place: str, tmp_path: Path) -> None:
    _, said = told(f"{HEAD}mail_location = maildir:~/Maildir\n{place}", tmp_path)
    assert "frobnicate: there is no such setting here" in said


def test_the_tables_say_one_thing_each() -> None:
    said = [name for table in (HARMLESS, MEANINGS) for names in table.values() for name in names.split()]
    assert len(said) == len(set(said))
    # No reason hides behind another one.
    for table in (MEANINGS, PLUGINS):
        for why, names in table.items():
            assert all(meaning(name.replace("*", ""), table) == why for name in names.split()), why


@pytest.mark.parametrize(
    ("written", "ours"),
    [
        (
            "mail_max_userip_connections = 20\nprotocol imap {\n  mail_max_userip_connections = 30\n}\n",
            "connections_per_user_and_address",
        ),
        ("auth_cache_size = 10 M\nauth_cache_ttl = 10 mins\n", "auth_cache_time"),
        ("auth_failure_delay = 3 secs\n", "auth_failure_delay"),
        ("login_greeting = Hello.\n", "greeting"),
        ("recipient_delimiter = -\n", "recipient_delimiter"),
        ("recipient_delimiter = +\nquota_full_tempfail = yes\n", "delivery_over_quota"),
        ("imap_max_line_length = 64 k\n", "line_limit"),
        ("mail_fsync = always\n", "fsync"),
        ("mail_nfs_storage = yes\n", "shared_spool"),
        ("mail_plugins = acl\nplugin {\n  acl = vfile\n}\n", "acl"),
        ("mail_plugins = zlib\nplugin {\n  zlib_save = gz\n}\n", "compress_mail"),
        ("mail_attachment_detection_options = add-flags exclude-inlined\n", "attachment_keywords"),
    ],
)
def test_limits_and_the_like(written: str, ours: str, tmp_path: Path) -> None:
    expected = {
        "connections_per_user_and_address": 30,
        "auth_cache_time": "10m",
        "auth_failure_delay": "3s",
        "greeting": "Hello.",
        "recipient_delimiter": "-",
        "delivery_over_quota": "defer",
        "line_limit": "64K",
        "fsync": "always",
        "shared_spool": "yes",
        "compress_mail": "gz",
        "attachment_keywords": True,
        "acl": None,  # heeded, as it is without the setting
    }
    settings, said = told(f"{HEAD}{PERSONAL}passdb {{\n  driver = passwd-file\n  args = /u\n}}\n{written}", tmp_path)
    assert settings.get(ours) == expected[ours]
    assert "Not carried over" not in said


@pytest.mark.parametrize(
    ("written", "settings", "named"),
    [
        ("  acl = vfile:/etc/dovecot/acls:cache_secs=300\n", {"acl_global": "/etc/dovecot/acls"}, ""),
        ("  acl = vfile:/etc/dovecot/acl\n  acl_globals_only = yes\n", {"acl_globals_only": True}, ""),
        ("  acl = vfile\n  acl_defaults_from_inbox = yes\n", {"acl_defaults_from_inbox": True, "acl_global": None}, ""),
        ("  acl_defaults_from_inbox = no\n", {"acl_defaults_from_inbox": None}, ""),
        ("  acl_shared_dict = file:/var/lib/dovecot/shared\n", {"acl_shared_list": "/var/lib/dovecot/shared"}, ""),
        ("  acl_shared_dict = file:/x/shared:lock=fcntl\n", {"acl_shared_list": "/x/shared"}, ""),
        ("  acl_shared_dict = proxy::acl\n", {"acl_shared_list": None}, "acl_shared_dict = proxy::acl: who shares"),
        ("  acl_shared_dict = file:~/shared\n", {"acl_shared_list": None}, "acl rebuild"),
        ("  acl_anyone = allow\n", {"acl": None}, "acl_anyone"),
    ],
)
def test_access_rights(written: str, settings: dict[str, object], named: str, tmp_path: Path) -> None:
    found, said = told(f"{HEAD}{PERSONAL}mail_plugins = acl\nplugin {{\n{written}}}\n", tmp_path)
    assert {name: found.get(name) for name in settings} == settings
    assert named in said
    without, _ = told(f"{HEAD}{PERSONAL}plugin {{\n{written}}}\n", tmp_path)
    assert [name for name in without if name.startswith("acl")] == ["acl"]
    assert without["acl"] is False


def test_access_rights_of_2_4(tmp_path: Path) -> None:
    text = """
acl_driver = vfile
acl_global_path = /etc/dovecot/acl
acl_sharing_map {
  dict file {
    path = /var/lib/dovecot/shared
  }
}
acl user=admin {
  rights = lr
}
namespace inbox {
  inbox = yes
  prefix = Mail/
  mailbox "All Foo" {
    acl owner {
      rights = lrw
    }
  }
}
mail_plugins {
  acl = yes
}
"""
    found, said = told(HEAD_24 + text, tmp_path)
    assert found["acl_global"] == "/etc/dovecot/acl"
    assert found["acl_shared_list"] == "/var/lib/dovecot/shared"
    assert "acl" not in found
    assert "'* user=admin lr'" in said
    assert "'\"Mail/All Foo\" owner lrw'" in said


@pytest.mark.parametrize(
    ("rules", "settings", "named"),
    [
        ("quota_rule = *:storage=1G:messages=500\n", ("1G", 500), ""),
        ("quota_rule = ?:storage=10240\n", ("10M", None), ""),
        ("quota_rule = *:storage=1G\nquota_rule2 = Trash:storage=+10%%\n", ("1G", None), "Trash: storage=+10%"),
        ("quota_rule = *:storage=1G\nquota_rule2 = Trash:noenforcing\n", ("1G", None), "quota_rule2 = Trash"),
        ("quota_rule = *:storage=70%%\n", (None, None), "quota_rule = *:storage=70"),
        ("quota_warning = storage=95%% quota-warning 95 %u\n", (None, None), "no program is run"),
        ("quota_exceeded_message = full\n", (None, None), "in our own words"),
    ],
)
def test_quota(rules: str, settings: tuple[object, object], named: str, tmp_path: Path) -> None:
    text = f"{HEAD}{PERSONAL}mail_plugins = quota\nplugin {{\n  quota = maildir:User quota\n{rules}}}\n"
    found, said = told(text, tmp_path)
    assert (found.get("quota_storage"), found.get("quota_messages")) == settings
    assert named in said
    found, said = told(text.replace("mail_plugins = quota\n", ""), tmp_path)
    assert "quota_storage" not in found


RULES_OF_2_3 = """
quota = maildir:User quota
quota_rule = *:storage=1G
quota_rule2 = Trash:storage=+100M:messages=+10%%
quota_rule3 = INBOX.Junk.Old:ignore
quota_rule4 = Lists.*:ignore
quota_rule5 = J*nk:ignore
quota_grace = 50 M
quota_mailbox_count = 200
quota_max_mail_size = 20 M
quota_warning = storage=95%% quota-warning 95 %u
quota_warning2 = storage=80%% quota-warning 80 %u
quota_warning3 = -storage=100%% quota-warning below %u
quota_warning4 = storage=5G quota-warning much %u
quota_warning5 = messages=95%% elsewhere 95 %u
quota_warning6 = messages=70%% quota-warning 70 %h
"""
SERVICE = "service quota-warning {\n  executable = script /usr/local/bin/full.sh\n  user = dovecot\n}\n"


def test_rules_grace_and_warnings_of_2_3(tmp_path: Path) -> None:
    rules = "".join(f"  {line}\n" for line in RULES_OF_2_3.splitlines())
    namespace = "namespace inbox {\n  inbox = yes\n  prefix = INBOX.\n  separator = .\n}\n"
    text = f"{HEAD}mail_location = maildir:~/Maildir\n{namespace}mail_plugins = quota\nplugin {{\n{rules}}}\n{SERVICE}"
    found, said = told(text, tmp_path)
    assert found["quota_exceptions"] == ["Trash: storage=+100M, messages=+10%", "Junk/Old: ignore", "Lists/*: ignore"]
    assert (found["quota_grace"], found["quota_mailboxes"]) == ("50M", 200)
    assert (found["append_limit"], found["delivery_limit"]) == ("20M", "20M")
    assert found["quota_warnings"] == [
        "95:/usr/local/bin/full.sh 95 %u",
        "80:/usr/local/bin/full.sh 80 %u",
        "under 100:/usr/local/bin/full.sh below %u",
    ]
    for named in ("quota_rule5 = J*nk", "quota_warning4 = storage=5G", "quota_warning5", "quota_warning6: 70:"):
        assert named in said
    assert "is not run" not in said


BLOCKS_OF_2_4 = """
mail_plugins {
  quota = yes
}
namespace inbox {
  inbox = yes
  mailbox Trash {
    quota_ignore = yes
  }
  mailbox Junk {
    quota_storage_extra = 100 M
    quota_message_percentage = 110
  }
  mailbox Sent {
    quota_storage_percentage = 150
  }
  mailbox Drafts {
    quota_storage_percentage = 50
  }
}
quota_mail_size = 20 M
quota "User quota" {
  driver = maildir
  storage_size = 1 G
  warning warn-95 {
    quota_storage_percentage = 95
    execute quota-warning {
      args = 95 %{user}
    }
  }
  warning warn-under {
    storage_percentage = 100
    threshold = under
    execute quota-warning {
      args = below %{user}
    }
  }
}
"""


def test_rules_grace_and_warnings_of_2_4(tmp_path: Path) -> None:
    text = f"{HEAD_24}mail_driver = maildir\nmail_path = ~/Maildir\n{BLOCKS_OF_2_4}{SERVICE}"
    found, said = told(text, tmp_path)
    assert found["quota_exceptions"] == [
        "Trash: ignore",
        "Junk: storage=+100M, messages=+10%",
        "Sent: storage=+50%",
    ]
    assert found["quota_grace"] == "10M"
    assert found["quota_warnings"] == [
        "95:/usr/local/bin/full.sh 95 %u",
        "under 100:/usr/local/bin/full.sh below %u",
    ]
    assert (found["append_limit"], found["delivery_limit"]) == ("20M", "20M")
    assert "mailbox Drafts/quota_storage_percentage" in said
    found, _ = told(text.replace("storage_size = 1 G", "storage_grace = 5 M"), tmp_path)
    assert found["quota_grace"] == "5M"


@pytest.mark.parametrize(
    ("written", "settings"),
    [
        ("imap_urlauth_host = mail.example.org", {"urlauth_host": ["mail.example.org"]}),
        (
            "imap_urlauth_host = mail.example.org\nimap_urlauth_port = 1143\nimap_urlauth_submit_user = 007",
            {"urlauth_host": ["mail.example.org:1143"], "urlauth_submit_user": ["007"]},
        ),
        ("imap_urlauth_host = *\nimap_urlauth_port = 1143", {"urlauth_host": ["*"]}),
        ("protocol imap {\n imap_urlauth_host = mail\n}", {"urlauth_host": ["mail"]}),
        ("imap_urlauth_submit_user = post\nimap_urlauth_port = 143", {}),
    ],
)
def test_urls(written: str, settings: dict[str, object], tmp_path: Path) -> None:
    service = "service imap-urlauth-login {\n  unix_listener imap-urlauth {\n    mode = 0666\n  }\n}\n"
    found, text = told(f"{HEAD}{service}{written}\n", tmp_path)
    assert {name: value for name, value in found.items() if name.startswith("urlauth")} == settings
    assert "imap-urlauth" not in text
    assert "imap_urlauth" not in text


def test_an_index_of_words_becomes_one_of_strings(tmp_path: Path) -> None:
    written = PERSONAL + "mail_plugins = fts fts_xapian\nplugin {\n  fts = xapian\n  fts_decoder = decode2text\n}\n"
    settings, text = told(HEAD + written, tmp_path)
    assert settings["search_index"] is True
    assert "fts_decoder: texts of attachments are made by commands" in text
    assert "fts: the index here" in text
    assert "mail_plugins" not in text
    assert "search_index" not in told(HEAD + PERSONAL, tmp_path)[0]


def test_quota_of_2_4(tmp_path: Path) -> None:
    text = """# 2.4.1-4 (7d8c0e5759): /etc/dovecot/dovecot.conf
mail_driver = maildir
mail_path = ~/Maildir
mailbox_list_layout = maildir++
mail_plugins {
  quota = yes
}
quota "User quota" {
  driver = count
  storage_size = 2 G
}
quota_message_count = 100
"""
    found, _ = told(text, tmp_path)
    assert (found["quota_storage"], found["quota_messages"]) == ("2G", 100)


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("mail_location = mdbox:~/mdbox\n", "mail is mdbox:~/mdbox"),
        ("mail_location = maildir:~/Maildir:DIRNAME=mAildir\n", "DIRNAME=mAildir"),
        ("mail_location = maildir:~/Maildir:LAYOUT=index\n", "folders lie as index has them"),
        ("mail_location = maildir:/srv/%1u/%u\n", "may use the variables"),
        (f"{PERSONAL}mail_plugins = mail_crypt\n", "encrypted"),
    ],
)
def test_mail_that_must_not_be_served_starts_no_server(written: str, why: str, tmp_path: Path) -> None:
    _, said = told(HEAD + written, tmp_path, status=1)
    assert why in said.partition("# Refused:")[2].partition("# Not carried over:")[0]
    source = tmp_path / "ours.conf"
    (tmp_path / "users").touch()
    done = CliRunner().invoke(main, ["serve", "-c", str(source), "--passwd-file", str(tmp_path / "users")])
    assert done.exit_code == 78
    assert "mail_location" in done.output


def test_homes_of_all_users_are_put_into_the_location(tmp_path: Path) -> None:
    static = "userdb {\n  args = uid=vmail gid=vmail home=/srv/%Ld/%n\n  driver = static\n}\n"
    settings, _ = told(f"{HEAD}mail_location = maildir:~/Maildir:CONTROL=~/control:INBOX=%h/in\n{static}", tmp_path)
    assert (
        settings["mail_location"]
        == "maildir:/srv/%d/%n/Maildir:LAYOUT=maildir++:INBOX=/srv/%d/%n/in:CONTROL=/srv/%d/%n/control"
    )
    assert settings["mail_user"] == "vmail"
    file = "passdb {\n  driver = passwd-file\n  args = /u\n}\nuserdb {\n  driver = passwd-file\n  args = /u\n}\n"
    settings, said = told(f"{HEAD}mail_location = maildir:~/Maildir\nmail_home = /srv/%u\n{file}", tmp_path)
    assert settings["mail_location"] == "maildir:~/Maildir:LAYOUT=maildir++"
    assert "mail_home: a user's home is /srv/%u where nothing else is said" in said


HOMES = "mail_home = /srv/%u\n"
HOMES_24 = "mail_home = /srv/%{user | domain}/%{user | username}\nmail_driver = maildir\n"
STATIC_24 = "userdb static {\n  fields {\n    home = /other/%{user | username}\n  }\n}\n"


@pytest.mark.parametrize(
    ("written", "location"),
    [
        (f"{HEAD}{HOMES}mail_location = maildir:~/M\n", "maildir:/srv/%u/M:LAYOUT=maildir++"),
        (
            f"{HEAD}mail_home = /srv/%Ld/%n/\nmail_location = maildir:%h/M:INBOX=~:INDEX=~/i\n",
            "maildir:/srv/%d/%n/M:LAYOUT=maildir++:INBOX=/srv/%d/%n:INDEX=/srv/%d/%n/i",
        ),
        # Without a place Dovecot looks for ~/Maildir, among others; with the driver alone for that.
        (f"{HEAD}{HOMES}", "maildir:/srv/%u/Maildir"),
        (f"{HEAD}{HOMES}mail_location = maildir:\n", "maildir:/srv/%u/Maildir:LAYOUT=maildir++"),
        (f"{HEAD}mail_location = maildir:\n", "maildir:~/Maildir:LAYOUT=maildir++"),
        (f"{HEAD}{HOMES}mail_location = maildir:/x/%u~1\n", "maildir:/x/%u~1:LAYOUT=maildir++"),
        (f"{HEAD_24}{HOMES_24}mail_path = ~/M\n", "maildir:/srv/%d/%n/M"),
        (f"{HEAD_24}{HOMES_24}mail_path = %{{home}}/M\nmail_inbox_path = ~\n", "maildir:/srv/%d/%n/M:INBOX=/srv/%d/%n"),
        (f"{HEAD_24}{HOMES_24}", "maildir:/srv/%d/%n/Maildir"),
        # The user database's goes before.
        (
            f"{HEAD}{HOMES}mail_location = maildir:~/M\nuserdb {{\n  driver = static\n  args = home=/o/%n\n}}\n",
            "maildir:/o/%n/M:LAYOUT=maildir++",
        ),
        (f"{HEAD_24}{HOMES_24}mail_path = ~/M\n{STATIC_24}", "maildir:/other/%n/M"),
    ],
)
def test_mail_home_is_put_into_the_location(written: str, location: str, tmp_path: Path) -> None:
    settings, said = told(written, tmp_path)
    assert settings["mail_location"] == location
    assert "mail_home" not in said


def test_a_home_that_cannot_be_said_here(tmp_path: Path) -> None:
    written = f"{HEAD_24}mail_home = /srv/%{{user | sha1}}\nmail_driver = maildir\nmail_path = ~/M\n"
    _, said = told(written, tmp_path, status=1)
    assert "%{user | sha1}" in said


@pytest.mark.parametrize("location", ["mail_location = maildir:~/Maildir\n", ""])
def test_homes_that_a_password_database_gives(location: str, tmp_path: Path) -> None:
    """Of the prefetch kind: they go before mail_home, and are read where Dovecot has them."""
    databases = "passdb {\n  driver = passwd-file\n  args = /u\n}\nuserdb {\n  driver = prefetch\n}\n"
    settings, said = told(f"{HEAD}{location}{HOMES}{databases}", tmp_path)
    assert "/srv" not in str(settings["mail_location"])
    assert "mail_home: a user's home is /srv/%u where nothing else is said" in said
    assert "userdb prefetch" not in said


@pytest.mark.parametrize(
    ("listen", "imap"),
    [
        ("*, ::", ["*:143"]),
        ("*", ["0.0.0.0:143"]),
        ("127.0.0.1 ::1", ["127.0.0.1:143", "[::1]:143"]),
        ("[::]", ["*:143"]),
        ("mail.example.org", ["mail.example.org:143"]),
    ],
)
def test_addresses(listen: str, imap: list[str], tmp_path: Path) -> None:
    settings, _ = told(f"{HEAD}{PERSONAL}listen = {listen}\n", tmp_path)
    assert settings["imap"] == imap
    assert settings["imaps"] == [address.replace(":143", ":993") for address in imap]


def test_webmail_on_the_same_machine_needs_no_tls(tmp_path: Path) -> None:
    """Dovecot takes a password from an address of its own, whatever is set."""
    for written in ("", "ssl = required\n", "remote 127.0.0.1 {\n  disable_plaintext_auth = no\n}\n"):
        settings, said = told(HEAD + PERSONAL + written, tmp_path)
        assert settings["plaintext_login"] == "loopback"
        assert "TLS" not in said
    _, said = told(f"{HEAD}{PERSONAL}remote 10.0.0.0/8 {{\n  disable_plaintext_auth = no\n}}\n", tmp_path)
    assert "clients of 10.0.0.0/8 may send no password without TLS here" in said


def test_a_plain_file_is_read_and_one_with_includes_is_not(tmp_path: Path) -> None:
    source = tmp_path / "dovecot.conf"
    source.write_text("# my server\nmail_location = maildir:~/Maildir # here\n")
    done = CliRunner().invoke(main, ["import-config", str(source)])
    assert done.exit_code == 0
    assert 'mail_location = "maildir:~/Maildir:LAYOUT=maildir++"' in done.stdout
    assert "not what 'doveconf -n' prints" in done.stderr
    source.write_text("mail_location = maildir:~/Maildir\n!include conf.d/*.conf\n")
    done = CliRunner().invoke(main, ["import-config", str(source)])
    assert done.exit_code == 78
    assert "includes others (line 2): give the output of 'doveconf -n' instead" in done.output


def test_no_value_ends_a_comment_or_a_string(tmp_path: Path) -> None:
    settings, said = told(
        f'{HEAD}{PERSONAL}login_greeting = "a\\"\x85b\\\\"\nodd\x0bname = 1\n'.replace("\x0b", "\x7f"), tmp_path
    )
    assert settings["greeting"] == 'a"\x85b\\'
    assert "odd?name: there is no such setting here" in said
