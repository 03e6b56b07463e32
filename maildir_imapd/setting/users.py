"""The users, and where their mail is."""

from __future__ import annotations

from maildir_imapd.setting.setting import Setting
from maildir_imapd.values import entry, location, text, users_file

SETTINGS: tuple[Setting, ...] = (
    Setting(
        "passwd_file",
        users_file,
        (),
        "Users, in Dovecot's passwd-file format: user:{SCHEME}hash:uid:gid::home::extra. Read again when it changes. "
        "Of several the first that knows the user decides. The path may have variables, so that each domain has a file "
        "of its own: %u user name, %n the part before @, %d the part after it (/etc/mail/%d/passwd), where users may "
        "stand without their domain; a file that is not there has nobody in it.",
        "FILE",
        "Users",
        many=True,
    ),
    Setting(
        "mail_location",
        location,
        "maildir:~/Maildir",
        "Where a user's mail is, as in Dovecot. Variables: %u user name, %n the part before @, %d the part after it, "
        "%h home directory; a leading ~/ is the home too. Options behind the path: LAYOUT=maildir++ for flat folders "
        "(.a.b), fs for nested ones (a/b), auto (the default) for what the spool shows at first contact; INBOX=PATH if "
        "INBOX is not the path itself, CONTROL=PATH where Dovecot's dovecot-uidlist, dovecot-keywords and "
        "subscriptions lie apart, INDEX=PATH for our cache (MEMORY: beside the mail), UTF-8 if folders are named in "
        "UTF-8 on the disk. A colon in a path is written twice.",
        "maildir:PATH[:OPTION...]",
        "Users",
    ),
    Setting(
        "spool_marker",
        entry,
        None,
        "A file of this name, made by hand, lies in a directory above the mail on the same file system, best in its "
        "topmost directory. Where it is not, the file system is not mounted: logins are answered NO [UNAVAILABLE], "
        "nothing is made, and what lies there is not served. Without this setting a Maildir is made where the part of "
        "mail_location before the first variable is a directory; of a path in the home the home must be there, of one "
        "without variables the directory that it lies in. See MAIL THAT IS NOT THERE in maildir-imapd(8).",
        "NAME",
        "Users",
    ),
    Setting(
        "mail_user",
        text,
        None,
        "System user that owns all spools; the server becomes it once its ports are bound. Needs root.",
        "NAME",
        "Users",
    ),
)
