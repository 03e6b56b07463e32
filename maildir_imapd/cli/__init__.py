"""The command line: ``maildir-imapd``."""

from __future__ import annotations

import sys

import click

from maildir_imapd import __version__
from maildir_imapd.cli.group import Group, Lazy

COMMANDS = {
    "Serving": {
        "serve": Lazy("serve:serve", "Serve mailboxes over IMAP."),
        "tunnel": Lazy("tunnel:tunnel", "Speak IMAP on stdin and stdout, for ssh."),
        "try": Lazy("try_:try_", "Serve one Maildir, to see it at work."),
    },
    "The running server": {
        "status": Lazy("status:status", "Show how the running server is, and what is wrong now."),
        "who": Lazy("status:who", "Show who is connected, and what each session does."),
        "kick": Lazy("status:kick", "End a session, or all sessions of a user."),
        "top": Lazy("top:top", "Show the running server live: sessions, commands, slow commands, busy folders."),
        "log": Lazy("logs:log", "Follow the log of the running server."),
        "rawlog": Lazy("logs:rawlog", "Write one user's dialogue down, without passwords."),
        "ready": Lazy("draining:ready", "Say whether the running server takes clients."),
        "drain": Lazy("draining:drain", "Send the clients of the running server elsewhere, before an upgrade."),
        "stop": Lazy("status:stop", "End the running server: BYE to all, as after SIGTERM."),
        "reload": Lazy("status:reload", "Have the running server read its configuration again, as after SIGHUP."),
    },
    "Configuration": {
        "config": Lazy("config_:config", "Check, show and begin the configuration."),
    },
    "Users": {
        "user": Lazy("user:user", "Add, remove, show and test users."),
        "hash-password": Lazy("passwords:hash_password", "Print the hash of a password."),
    },
    "Mail": {
        "deliver": Lazy("deliver:deliver", "Put a message from standard input into a mailbox."),
        "mailbox": Lazy("mailbox:mailbox", "List, make, remove, rename and subscribe mailboxes."),
        "message": Lazy("message:message", "Search, print, flag, move, copy and remove messages."),
        "acl": Lazy("acl:acl", "Show and change access rights, and the list of shares."),
        "quota": Lazy("quota:quota", "Show quotas, and count anew what is used of them."),
    },
    "Looking into spools": {
        "check-spool": Lazy(
            "check_spool:check_spool", "Say whether a mount can be trusted with mail that several hosts serve."
        ),
        "doctor": Lazy("doctor:doctor", "Say what is wrong with a spool, and mend it."),
        "explain": Lazy("explain:explain", "Say all that is known of a message."),
        "index": Lazy("index:index", "Show indexes, verify them, and make them anew."),
        "search-index": Lazy("search_index:search_index", "Show, fill and remove indexes for SEARCH BODY and TEXT."),
    },
    "Moving in and out": {
        "import-config": Lazy("import_config:import_config", "Make a configuration from another server's."),
        "adopt": Lazy("adopt:adopt", "Take over spools of Dovecot or Courier."),
        "release": Lazy("migrate:release", "Give spools back to Dovecot or Courier."),
    },
}


@click.group(cls=Group, lazy=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="maildir-imapd")
def main() -> None:
    """An IMAP server for the Maildirs you already have.

    \b
    See it at work:               maildir-imapd try
    Serve a spool to a network:   maildir-imapd serve --help
    Serve your own mail by ssh:   ssh HOST maildir-imapd tunnel

    The manual: maildir-imapd(8), which names a page for each group of commands, and maildir-imapd.conf(5).
    """


def run() -> None:
    """Entry for ``python -m``."""
    sys.exit(main())
