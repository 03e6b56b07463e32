"""Back ends that say who may log in: which are asked, in which order, and how."""

from __future__ import annotations

from maildir_imapd.setting.setting import Setting
from maildir_imapd.values import (
    attribute,
    choice,
    command,
    duration,
    entry,
    field_of_all,
    login_query,
    name_form,
    number,
    path,
    query,
    separator,
    switch,
    switch_or_path,
    template,
    text,
    upper_choice,
    uri,
)

# The back ends that can check a password, and those that can say who a user is.
CHECKING = ("passwd-file", "pam", "ldap", "sql", "command", "dovecot", "oauth")
KNOWING = ("passwd-file", "system", "ldap", "sql", "static", "dovecot")

# Those of stored passwords that may stand without their name.
SCHEMES = (
    *("CRYPT", "PLAIN", "MD5-CRYPT", "SHA256-CRYPT", "SHA512-CRYPT", "BLF-CRYPT", "ARGON2ID"),
    *("SHA", "SHA256", "SHA512", "SSHA", "SSHA256", "SSHA512"),
)
MECHANISMS = (
    "SCRAM-SHA-256-PLUS",
    "SCRAM-SHA-1-PLUS",
    "SCRAM-SHA-256",
    "SCRAM-SHA-1",
    "OAUTHBEARER",
    "XOAUTH2",
    "EXTERNAL",
    "PLAIN",
    "LOGIN",
    "CRAM-MD5",
    "ANONYMOUS",
)

SETTINGS: tuple[Setting, ...] = (
    Setting(
        "auth",
        choice(*CHECKING),
        (),
        f"Who checks passwords, in the order in which they are asked: {', '.join(CHECKING)}. The first that knows the "
        "user decides; when one cannot be asked, those behind it are not, and the login is answered NO [UNAVAILABLE].",
        "NAME",
        "Logins",
        many=True,
        shown="passwd-file",
    ),
    Setting(
        "userdb",
        choice(*KNOWING),
        (),
        f"Who is asked for home, uid, gid, mail and limits of a user: {', '.join(KNOWING)}. The first that knows the "
        "user decides, and whom none knows cannot log in; what the back end that checked has said goes before it.",
        "NAME",
        "Logins",
        many=True,
        shown="the back end that checked the password",
    ),
    Setting(
        "auth_mechanisms",
        upper_choice(*MECHANISMS),
        (),
        f"The SASL mechanisms by which clients may log in: {', '.join(MECHANISMS)}. What cannot succeed here is not "
        "announced, named or not; CRAM-MD5 and ANONYMOUS are only where they are named, "
        "and none is before TLS where plaintext_login does not allow passwords. The command "
        "LOGIN is there even so.",
        "NAME",
        "Logins",
        many=True,
        shown="all that are of use to every user",
    ),
    Setting(
        "auth_anonymous_user",
        text,
        None,
        "The user that anybody may be, where auth_mechanisms names ANONYMOUS: he may read and change nothing.",
        "NAME",
        "Logins",
    ),
    Setting(
        "auth_master_file",
        path,
        None,
        "Those who may act for other users, in passwd-file format: as USER*MASTER with the master's password, or by an "
        "authorization identity. The extra field acts_for says for whom (acts_for=*@example.org), without it for "
        "everybody. Nobody can act for one who could not log in himself from where he is.",
        "FILE",
        "Logins",
    ),
    Setting(
        "auth_master_separator",
        separator,
        "*",
        "What stands between the user and the master in a name, where there is an auth_master_file.",
        "CHARACTER",
        "Logins",
    ),
    Setting(
        "auth_device_file",
        path,
        None,
        "Passwords of users' devices, beside the users' own: written by maildir-imapd user device, read again when it "
        "changes. They are for LOGIN and PLAIN, of users whom a back end has that can say without a password whether "
        "they are locked out: passwd-file, sql, ldap, and dovecot with dovecot_userdb_socket.",
        "FILE",
        "Logins",
    ),
    Setting(
        "auth_device_used_file",
        path,
        None,
        "Where workers note when each device was used last, once a minute at most, from which address and by which "
        "program. They must be able to write it; its directory had better be its own.",
        "FILE",
        "Logins",
    ),
    Setting(
        "last_login_file",
        path,
        None,
        "Where workers note when each user logged in last, once a minute at most, from which address and by which "
        "program: user show says it. A master's login is not the user's. They must be able to write it; its directory "
        "had better be its own. The last 80 000 users are remembered.",
        "FILE",
        "Logins",
    ),
    Setting(
        "new_device_message",
        switch_or_path,
        "no",
        "A message in INBOX when a user's mail is opened from where it never was: by a program (by ID, without its "
        "version) or from surroundings (a /16 of IPv4, a /32 of IPv6) that are new, or by a new device's password. "
        "The first one of a user is not told, nor are more than ten a day. What is known is in the file "
        "maildir-imapd.seen beside INBOX. A file in the place of yes has the text: header fields, an empty line, what "
        "it says, with $user, $address, $program, $time and $server.",
        "no|yes|FILE",
        "Logins",
    ),
    Setting(
        "auth_timeout",
        duration(1, 120),
        10.0,
        "The most that a back end is waited for, in all; then the login is answered NO [UNAVAILABLE].",
        "TIME",
        "Logins",
        shown="10s",
    ),
    Setting(
        "auth_connections",
        number(1, 1000),
        5,
        "How many questions each worker asks one back end at the same time; the others wait, for no longer than "
        "auth_timeout.",
        "NUMBER",
        "Logins",
    ),
    Setting(
        "auth_cache_time",
        duration(0, 86400),
        300.0,
        "How long a password that was right is remembered (as a keyed digest, in memory, for the address that it came "
        "from), so that a client with many connections does not pay for the slow hash each time. 0 switches it off.",
        "TIME",
        "Logins",
        shown="5m",
    ),
    Setting(
        "auth_failure_delay",
        duration(0, 60),
        2.0,
        "Time from a wrong password to its answer; doubled at each further one of the connection, and as failures of "
        "all connections from that address, from its /64 or for that user mount up; a minute at most.",
        "TIME",
        "Logins",
        shown="2s",
    ),
    Setting(
        "auth_cache_negative_time",
        duration(0, 3600),
        5.0,
        "How long it is remembered that a back end does not know a user. What it has said of one whom it knows holds "
        "for auth_cache_time, or until that user's next password is checked. Files are looked at each time.",
        "TIME",
        "Logins",
        shown="5s",
    ),
    Setting(
        "auth_default_realm",
        text,
        None,
        "The domain that is put behind a user name that has none, before anybody is asked.",
        "DOMAIN",
        "Logins",
    ),
    Setting(
        "auth_username_format",
        name_form,
        None,
        "How user names are spelled before anybody is asked, as in Dovecot: %u as clients write them, %Lu in small "
        "letters, %n or %Ln without the domain. Without it a name is tried as it is written, then in small letters.",
        "FORM",
        "Logins",
    ),
    Setting(
        "auth_static",
        field_of_all,
        (),
        "With userdb = static, what holds for every user, as home=/srv/mail/%d/%n, uid=vmail, gid=vmail: fields of "
        "passwd-files, with the variables %u user name, %n the part before @ and %d the part after it; mail= has "
        "those of mail_location.",
        "FIELD=VALUE",
        "Logins",
        many=True,
    ),
    Setting(
        "system_first_uid",
        number(1, (1 << 32) - 2),
        1000,
        "With userdb = system, and with pam where userdb is not set: the first uid of a user; those below are "
        "accounts of the system, which cannot log in.",
        "NUMBER",
        "Logins",
    ),
    Setting(
        "pam_service",
        entry,
        "maildir-imapd",
        "With auth = pam, the file in /etc/pam.d that says how. A password that is right and an account that is in "
        "order (auth and account there) let a user in.",
        "NAME",
        "Logins",
    ),
    Setting(
        "pam_session",
        switch,
        False,
        "Open a session of PAM's at each login that is checked, and close it again at once: for modules that make a "
        "home or count logins.",
        "true|false",
        "Logins",
        shown="false",
    ),
    Setting(
        "auth_command",
        command,
        (),
        "With auth = command, the program that is asked, in the manner of checkpassword: it reads name, password and "
        "a number, each with a NUL behind it, from descriptor 3, becomes the program in its arguments if they are "
        "right, and else ends with 1, or with anything else (111) for what it cannot say now. Of its environment "
        "USER, HOME and the fields that EXTRA names are taken; the uid that it has become is the mail's owner. It is "
        "run as whoever starts the server, in /, with PATH in its environment.",
        "COMMAND",
        "Logins",
    ),
    Setting(
        "ldap_uri",
        uri,
        (),
        "The directory of auth and userdb = ldap: ldap://, ldaps:// or ldapi:// and a host, of which the first that "
        "answers is taken. Needs maildir-imapd[ldap].",
        "URI",
        "Logins",
        many=True,
    ),
    Setting(
        "ldap_starttls",
        switch,
        False,
        "Begin TLS on connections of ldap://; without it passwords go bare.",
        "true|false",
        "Logins",
        shown="false",
    ),
    Setting(
        "ldap_ca",
        path,
        None,
        "The certificates that the directory's must be signed by, PEM. Default: those of the system.",
        "FILE",
        "Logins",
        shown="those of the system",
    ),
    Setting(
        "ldap_base",
        template,
        None,
        "Below which entry users are looked for. It and ldap_filter may have %u, %n and %d in them, which are escaped.",
        "DN",
        "Logins",
    ),
    Setting(
        "ldap_filter",
        template,
        "(&(objectClass=posixAccount)(uid=%u))",
        "What finds the one entry of a user. Whoever can bind as that entry with the password that the client shows "
        "is the user.",
        "FILTER",
        "Logins",
    ),
    Setting(
        "ldap_bind_dn",
        text,
        None,
        "As whom the directory is searched; without it as nobody.",
        "DN",
        "Logins",
    ),
    Setting(
        "ldap_bind_password_file",
        path,
        None,
        "A file with the password of ldap_bind_dn in its first line, which only the administrator may read.",
        "FILE",
        "Logins",
    ),
    Setting(
        "ldap_name_attribute",
        text,
        "uid",
        "The attribute that has the user's name as it is to be spelled, for a directory finds it in other spellings "
        "as well.",
        "ATTRIBUTE",
        "Logins",
    ),
    Setting(
        "ldap_user_attributes",
        attribute,
        (("homeDirectory", "home", "%$"), ("uidNumber", "uid", "%$"), ("gidNumber", "gid", "%$")),
        "What attributes say, as fields of passwd-files: mailQuota=quota_rule, or with a text around the value, "
        "which is %$: mailQuota=quota_rule=*:bytes=%$.",
        "ATTRIBUTE=FIELD[=TEXT]",
        "Logins",
        many=True,
        shown="homeDirectory=home, uidNumber=uid, gidNumber=gid",
    ),
    Setting(
        "sql_connect",
        text,
        None,
        "The database of auth and userdb = sql: sqlite:PATH, or for PostgreSQL a connection string as libpq takes "
        "it, such as host=127.0.0.1 dbname=mail user=maildir-imapd. Needs maildir-imapd[sql] for the latter.",
        "DATABASE",
        "Logins",
    ),
    Setting(
        "sql_password_file",
        path,
        None,
        "A file with the password for the database in its first line, which only the administrator may read.",
        "FILE",
        "Logins",
    ),
    Setting(
        "sql_password_query",
        query,
        None,
        "What finds the password of a user: a SELECT with a column password, and fields of passwd-files in others "
        "(home, uid, gid, mail, quota_rule, allow_nets ..., each also with userdb_ in front; nologin). A column user "
        "has the name as it is to be spelled; without it the name counts as the client writes it, so let the query "
        "compare as exactly. %u, %n and %d, or %Lu, %Ln and %Ld, are bound as parameters and are never part of the "
        "text; quotes around them are taken away.",
        "QUERY",
        "Logins",
    ),
    Setting(
        "sql_user_query",
        query,
        None,
        "What finds home, uid, gid, mail and limits of a user, where sql_password_query does not: columns as there, "
        "without the password. For userdb = sql.",
        "QUERY",
        "Logins",
    ),
    Setting(
        "sql_device_query",
        query,
        None,
        "What finds the passwords of a user's devices, beside those of auth_device_file: a row for each, with the "
        "columns name, password, and as one likes read_only and made (seconds since 1970), and no others. Variables "
        "are as in sql_password_query, of the name that the back end has for the user. It is asked at each login with "
        "a password.",
        "QUERY",
        "Logins",
    ),
    Setting(
        "sql_last_login_query",
        login_query,
        None,
        "A statement that writes down a login, such as UPDATE users SET last_login = %t, last_address = %r WHERE name "
        "= %u: %t is the time in seconds since 1970 (UTC), %r the address, %s the service, and the others are as in "
        "sql_password_query. It is run behind the login's back, of each user once a minute at most, and a database "
        "that is slow or away keeps nobody out. A master's login is not the user's. Of SQLite the workers must be able "
        "to write to the file and its directory.",
        "STATEMENT",
        "Logins",
    ),
    Setting(
        "sql_iterate_query",
        query,
        None,
        "What names all users, for commands: a column user, or username and domain.",
        "QUERY",
        "Logins",
    ),
    Setting(
        "sql_password_scheme",
        choice(*SCHEMES),
        "CRYPT",
        "The scheme of passwords in the database that have no {SCHEME} in front.",
        "SCHEME",
        "Logins",
    ),
    Setting(
        "dovecot_auth_socket",
        path,
        None,
        "With auth = dovecot, the socket of a running Dovecot's auth process for clients, such as "
        "/run/dovecot/auth-client: it checks passwords, as it does for others that are its clients.",
        "SOCKET",
        "Logins",
    ),
    Setting(
        "dovecot_userdb_socket",
        path,
        None,
        "Its socket for look-ups of users, such as /run/dovecot/auth-userdb: home, uid, gid, mail and limits. "
        "Without it nobody is known before he comes, and userdb is to be set.",
        "SOCKET",
        "Logins",
    ),
)
