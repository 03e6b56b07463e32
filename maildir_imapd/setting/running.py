"""Running: how the processes do it, and where the log goes."""

from __future__ import annotations

from maildir_imapd.setting.setting import Setting
from maildir_imapd.values import choice, control_socket, duration, path, switch, user_or_group

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
    Setting(
        "log_file",
        path,
        None,
        "Log here instead of where log_target says. Opened again when it is moved away.",
        "FILE",
        "Running",
    ),
    Setting(
        "log_target",
        choice("stderr", "syslog"),
        "stderr",
        "Where the log goes without a log_file: to standard error, which under systemd is the journal and gets "
        "priorities, or to the system's log (/dev/log, facility mail).",
        "stderr|syslog",
        "Running",
    ),
    Setting(
        "log_format",
        choice("text", "json"),
        "text",
        "How a line of the log is written: event and key=value, or an object of JSON.",
        "text|json",
        "Running",
    ),
    Setting(
        "slow_command",
        duration(0, 86400),
        5.0,
        "A command that takes as long has a line in the log, with its name and mailbox. 0: none.",
        "TIME",
        "Running",
        shown="5s",
    ),
    Setting(
        "control_socket",
        control_socket,
        "auto",
        "Where status, who, kick, top, stop, reload, log and rawlog find the server: a path; auto, which is "
        "/run/maildir-imapd/control for root's server and $XDG_RUNTIME_DIR/maildir-imapd/control for any other's, and "
        "where that cannot be made none; or none.",
        "PATH|auto|none",
        "Running",
    ),
    Setting(
        "control_admins",
        user_or_group,
        (),
        "Who may ask and change everything at the control socket, beside root and the user whose server it is. May be "
        "given several times.",
        "USER|@GROUP",
        "Running",
        many=True,
    ),
    Setting(
        "control_readers",
        user_or_group,
        (),
        "Who may look at the server by its control socket (status, who, top, log follow), and change nothing. May be "
        "given several times.",
        "USER|@GROUP",
        "Running",
        many=True,
    ),
    Setting(
        "rawlog_dir",
        path,
        None,
        "Directory for the dialogues that rawlog has written down; the workers' user must be able to make files there, "
        "and nobody else should read them.",
        "DIR",
        "Running",
    ),
    Setting("pid_file", path, None, "Write the supervisor's process number here.", "FILE", "Running"),
)
