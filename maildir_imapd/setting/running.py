"""Running: how the processes do it, and where the log goes."""

from __future__ import annotations

from maildir_imapd.setting.setting import Setting
from maildir_imapd.values import choice, duration, path, switch

SETTINGS: tuple[Setting, ...] = (
    Setting(
        "shutdown_timeout",
        duration(0, 3600),
        10.0,
        "After SIGTERM busy clients have this long to finish their command.",
        "TIME",
        "Running",
        shown="10s",
    ),
    Setting(
        "log_level",
        choice("debug", "info", "warning", "error"),
        "info",
        "The least important lines that are logged.",
        "LEVEL",
        "Running",
    ),
    Setting(
        "drop_capabilities",
        switch,
        True,
        "Workers of a server that root started keep no capability but those to act as its system users (CAP_SETUID, "
        "CAP_SETGID), and none with mail_user. Then the files that root opens are root's own: the passwd_file must be "
        "root's, or its group's.",
        "yes|no",
        "Running",
        shown="yes",
    ),
    Setting(
        "no_new_privs",
        switch,
        True,
        "Workers and tunnels can get no right that they have not.",
        "yes|no",
        "Running",
        shown="yes",
    ),
    Setting(
        "landlock",
        switch,
        True,
        "With mail_user, and in a tunnel: have the kernel let the process reach nothing but the mail, the system's own "
        "files and the directory of passwd_file, where it can (Linux 5.19). Where a new user's directory is a link to "
        "another disk, SIGHUP lets the server see it.",
        "yes|no",
        "Running",
        shown="yes",
    ),
    Setting(
        "core_dumps",
        switch,
        False,
        "Let a process that crashes leave its memory behind, with everybody's mail in it.",
        "yes|no",
        "Running",
        shown="no",
    ),
    Setting("log_file", path, None, "Log here instead of to standard error. Reopened on SIGHUP.", "FILE", "Running"),
    Setting("pid_file", path, None, "Write the supervisor's process number here.", "FILE", "Running"),
)
