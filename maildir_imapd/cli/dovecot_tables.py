"""The settings and plugins of Dovecot's that have no counterpart here, and what that means for the users.

Each table has the names behind the reason, with ``*`` for any characters.  A setting that is neither carried over nor
in a table is named all the same, see ``import_dovecot``.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Final

FILTERS = "filters (Sieve) run where mail is delivered: keep Dovecot's delivery, or mail is neither sorted nor answered"
UNMOVED = "scripts of Sieve are not run when a user moves mail to Junk or out of it: set hook_moved"
UNTOLD = "no other program is told of new mail"
UNLOGGED = "what users delete, copy and expunge is not logged one by one"
INDEXED = "the index here (search_index) is of all strings, not of words, and has nothing to set"
EXTRACTED = "texts of attachments are made by commands, one a media type: see search_extract"
UNKEPT = "what users expunge is gone at once"
UNMADE = "mailboxes are neither made nor emptied by themselves"
UNCOPIED = "mail is not copied to another server, and doveadm has nothing to ask"
ESCAPED = "mailbox names with escapes on the disk are shown as they are there"
NO_LOGIN_SCRIPT = "nothing else is done at a login"
NO_LAST_LOGIN = "nobody notes when a user logged in last: set sql_last_login_query, or last_login_file"
NO_SCRIPT = "scripts are not run"

# Settings of which nobody is told, and why not.
HARMLESS: Final[dict[str, str]] = {
    "there is no namespace of type shared": "mail_shared_explicit_inbox",
    "the format of Dovecot's own files": "dovecot_config_version dovecot_storage_version version_ignore",
    "how Dovecot runs its own processes": """
        base_dir state_dir libexec_dir instance_name default_internal_user default_internal_group default_login_user
        default_process_limit default_client_limit default_vsz_limit default_idle_kill* mail_plugin_dir
        login_plugin_dir auth_plugin_dir verbose_proctitle shutdown_clients config_cache_size import_environment
        auth_worker_max_count auth_socket_path stats_writer_socket_path doveadm_socket_path login_socket_path
        imap_hibernate_timeout mail_privileged_group
        """,
    "what Dovecot logs: see log_level and log_file": """
        log_path log_timestamp log_debug log_core_filter info_log_path debug_log_path syslog_facility mail_debug
        auth_verbose auth_verbose_passwords auth_debug auth_debug_passwords verbose_ssl login_log_format
        login_log_format_elements mail_log_prefix deliver_log_format imap_logout_format event_exporter* metric*
        stats_*
        """,
    "how Dovecot keeps its index, and how often it looks": """
        mail_cache_* mail_always_cache_fields mail_never_cache_fields mail_index_* mail_prefetch_count
        mail_vsize_bg_after_count mail_temp_* mailbox_list_index* mmap_disable lock_method dotlock_use_excl
        mail_max_lock_timeout maildir_stat_dirs maildir_copy_with_hardlinks maildir_very_dirty_syncs maildir_empty_new
        mailbox_idle_check_interval quota_vsizes virtual_max_open_mailboxes
        """,
    "keys are agreed on by elliptic curves": "ssl_dh ssl_server_dh_file ssl_dh_parameters_length ssl_options",
    "Dovecot as a client of other servers": "ssl_client_*",
    "root's mail is never served, nor that of accounts of the system (system_first_uid)": """
        first_valid_uid last_valid_uid first_valid_gid last_valid_gid
        """,
    "other formats than Maildir": """
        mbox_* dbox_* sdbox_* mdbox_* imapc_* pop3c_* mail_attachment_* mail_ext_attachment_*
        """,
    "these are always there": "imap_metadata mail_utf8_extensions imap_literal_minus",
    "a wrong password is never remembered here": """
        auth_cache_size auth_cache_negative_ttl auth_cache_verify_password_with_worker
        """,
    "the command with which doveadm is called has no counterpart": "doveadm_port doveadm_password",
}

# Settings of which users notice something; the first that fits counts.
MEANINGS: Final[dict[str, str]] = {
    FILTERS: "sieve* managesieve*",
    UNMOVED: "imapsieve* antispam*",
    "this is for Dovecot's delivery, if you keep it": """
        lmtp_* lda_* deliver_* rejection_* postmaster_address hostname sendmail_path submission_host
        """,
    "clients cannot send through this server": "submission_*",
    "users of POP3 cannot log in": "pop3_*",
    EXTRACTED: "fts_decoder* fts_tika*",
    INDEXED: "fts* language* textcat_*",
    "new messages are not compressed": "zlib_* mail_compress* compress_* fs_compress_*",
    "new messages are not encrypted": "mail_crypt* crypt_* fs_crypt_*",
    "who has no room left is told so in our own words": "quota_exceeded_message quota_status_*",
    "other programs are not told what users take up": "quota_clone*",
    "quotas have no such setting here": "quota*",
    "access rights are those in dovecot-acl and acl_global, for the user's own name": "acl* imap_acl* master_user",
    "annotations (METADATA) that clients keep in Dovecot's dictionary are not taken over": "mail_attribute*",
    "what METADATA says of the server is in the file server_metadata": "mail_server_admin mail_server_comment",
    UNLOGGED: "mail_log_*",
    UNKEPT: "lazy_expunge*",
    UNMADE: "trash* expire* autosubscribe* autocreate*",
    UNTOLD: "push_notification* notify_*",
    UNCOPIED: "replication_* mail_replica doveadm_* dsync_*",
    "without imap_urlauth_host no URL lets anybody read a message": "imap_urlauth*",
    "no answer differs for the sake of one client": "imap_client_workarounds",
    "capabilities are those that are there": "imap_capability",
    "ID says the name of this server alone": "imap_id_*",
    "a message that cannot be read is left out, and the answer says so": "imap_fetch_failure",
    "a keyword may be as long as its line": "mail_max_keyword_length",
    "a proxy has five seconds to say for whom it comes": "haproxy_timeout",
    "no policy server is asked at logins": "auth_policy_*",
    "user names are letters, digits and . _ + @ = & ' -": "auth_username_chars auth_username_translation",
    "logins with certificates are set anew (tls_client_ca, tls_client_name), and there are none with tickets": """
        auth_ssl* auth_gssapi* auth_krb5* auth_winbind* auth_use_winbind ssl_ca ssl_verify_client_cert ssl_require_crl
        ssl_cert_username_field ssl_server_ca_file ssl_server_request_client_cert ssl_server_require_crl
        ssl_server_cert_username_field
        """,
    "which ciphers are taken is OpenSSL's choice: very old clients may not connect": """
        ssl_cipher_list ssl_cipher_suites ssl_curve_list ssl_crypto_device ssl_prefer_server_ciphers
        ssl_server_prefer_ciphers
        """,
    "there is one certificate: clients that know no other kind of key cannot connect": "ssl_alt_* ssl_server_alt_*",
    "the key must stand in its file without a passphrase": "ssl_key_password ssl_server_key_password",
    "which groups a user is in says the system": "mail_access_groups",
    "nobody is put into a directory of his own": "mail_chroot valid_chroot_dirs",
    "a size in a file's name (S=) that is wrong may be told to clients": "maildir_broken_filename_sizes",
    "new messages are kept with LF": "mail_save_crlf",
    "SORT reads as many messages as it needs": "mail_sort_max_read_count",
    ESCAPED: "listescape_char",
    "mailboxes that are links to others are not there": "mailbox_alias*",
    "other databases of users are not asked: see passdb and userdb": """
        sql_* mysql pgsql sqlite cassandra ldap_* oauth2*
        """,
    NO_LOGIN_SCRIPT: "welcome_*",
    NO_LAST_LOGIN: "last_login_*",
}

# Plugins of which users notice something, and those that change nothing for them or are always there.
PLUGINS: Final[dict[str, str]] = {
    FILTERS: "sieve",
    UNMOVED: "imap_sieve antispam",
    "clients cannot run a filter over a mailbox": "imap_filter_sieve",
    UNTOLD: "notify_status push_notification*",
    "other programs are not told what users take up": "quota_clone",
    UNLOGGED: "mail_log",
    UNKEPT: "lazy_expunge",
    UNMADE: "trash expire autocreate",
    UNCOPIED: "replication",
    ESCAPED: "listescape",
    "mailboxes that are links to others are not there": "mailbox_alias",
    NO_LOGIN_SCRIPT: "welcome",
    NO_LAST_LOGIN: "last_login",
    NO_SCRIPT: "mail_lua",
}
PLUGINS_HARMLESS = """
    acl imap_acl quota imap_quota imap_zlib imap_stats stats old_stats apparmor charset_alias notify virtual
"""


def meaning(name: str, table: Mapping[str, str]) -> str:
    """The first reason of *table* that has *name*, or ""."""
    return next((why for why, names in table.items() if any(fnmatchcase(name, each) for each in names.split())), "")
