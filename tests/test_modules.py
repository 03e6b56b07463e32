"""Each module has a test file of its name, or stands here with the tests that are for it, and why not its own."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "maildir_imapd"

# What a command does is what a client sees of it: scripts of the protocol, by RFC and section.
SCRIPTS = "scripts"
# What runs under a folder's lock shows from outside only: in the mailbox, to other programs, at each step of the disk.
FOLDER = "test_store_mailbox test_store_foreign test_store_races test_store_stress test_crash_store test_crash_faults"
# Names and trees show in the account.
ACCOUNT = "test_store_account test_store_layout test_store_passed_over"
# Another server's files are right when that server says so.
NEIGHBOURS = "test_store_neighbour test_interop_dovecot_coexist test_interop_courier_coexist"
# Values and words without a decision in them: who uses them tests them.
VALUES = "values"

ELSEWHERE = {
    "auth/around": "test_auth_joined test_auth_lookups test_auth_dovecot",
    "auth/beside": "test_server_aside test_auth_command",
    "auth/postgres": "test_interop_auth_postgres",
    "auth/directory": "test_interop_auth_ldap",
    "auth/dovecot_talk": "test_auth_dovecot test_interop_auth_dovecot",
    "auth/pam": "test_interop_auth_pam",
    "cli/certificate": "test_server_own_certificate",
    "cli/deliver": "test_cli_deliver",
    "cli/completing": "test_cli_completion",
    "cli/devices": "test_cli_devices",
    "cli/draining": "test_server_drain",
    "cli/dovecot_features": "test_cli_import_dovecot",
    "cli/dovecot_mail": "test_cli_import_dovecot",
    "cli/dovecot_namespaces": "test_cli_import_dovecot",
    "cli/dovecot_quota": "test_cli_import_dovecot",
    "cli/dovecot_reading": "test_cli_import_dovecot",
    "cli/dovecot_services": "test_cli_import_dovecot",
    "cli/dovecot_tables": "test_cli_import_dovecot",
    "cli/dovecot_users": "test_cli_import_dovecot",
    "cli/import_config": "test_cli_import_dovecot test_cli_import_courier",
    "cli/imported": "test_cli_import_dovecot",
    "cli/migrate": "test_cli_migrate",
    "cli/options": "test_cli",
    "cli/config_": "test_cli_config",
    "cli/control": "test_server_control",
    "cli/logs": "test_server_control",
    "cli/sample": "test_cli",
    "cli/search_index": "test_cli_search_index",
    "cli/serve": "test_cli test_server_processes",
    "cli/try_": "test_cli",
    "cli/status": "test_server_control",
    "cli/tunnel": "test_cli",
    "cli/passwords": "test_cli test_cli_known",
    "cli/quota": "test_cli_index",
    "cli/user": "test_cli_group test_cli",
    "cli/users": "test_cli test_cli_users_lock",
    "cli/whose": "test_cli_mailbox",
    "imap/naming": "test_imap_session test_cli_mailbox",
    "imap/search/chosen": "test_cli_message",
    "imap/search/finder": "test_imap_search test_imap_marks test_imap_search_index",
    "server/front": "test_server_drain test_server_spool_probe",
    "server/doctoring": "test_cli_doctor",
    "server/spool_check": "test_cli_check_spool",
    "store/trying": "test_cli_check_spool",
    "errors": "test_languages test_lint",
    "events": "test_log test_lint",
    "imap/access/capability": "test_imap_registry test_rfc",
    "imap/access/comparator": f"{SCRIPTS} test_fuzz_growth",
    "imap/access/compress": "test_server_connection test_server_transport",
    "imap/access/enable": SCRIPTS,
    "imap/access/id": f"{SCRIPTS} test_server_proxy",
    "imap/access/language": "test_imap_language test_languages",
    "imap/access/login": f"{SCRIPTS} test_imap_session",
    "imap/access/sasl": f"{SCRIPTS} test_auth_mechanisms",
    "imap/columns/ahead": "test_imap_ahead",
    "imap/columns/cached": "test_imap_sort_reads test_imap_search test_imap_ahead",
    "imap/columns/danger": "test_server_deaths",
    "imap/columns/items": f"{SCRIPTS} test_imap_plan test_imap_objectid",
    "imap/columns/message": "test_imap_limits test_imap_identity",
    "imap/columns/rows": "test_imap_limits test_imap_told",
    "imap/commands": "test_imap_registry",
    "imap/engine": "test_imap_session test_imap_left",
    "imap/gate": VALUES,
    "imap/languages": "test_languages test_imap_language",
    "imap/mailboxes/filters": f"{SCRIPTS} test_imap_metadata",
    "imap/mailboxes/list": f"{SCRIPTS} test_wire_parse_list",
    "imap/mailboxes/manage": SCRIPTS,
    "imap/mailboxes/status": f"{SCRIPTS} test_imap_identity",
    "imap/name_changes": "test_imap_notify_model test_imap_notify",
    "imap/news/idle": SCRIPTS,
    "imap/news/qresync": f"{SCRIPTS} test_imap_model",
    "imap/news/updates": "test_imap_told test_imap_model",
    "imap/policy": VALUES,
    "imap/search/multisearch": f"{SCRIPTS} test_imap_identity",
    "imap/search/relevancy": SCRIPTS,
    "imap/search/proposals": "test_imap_search_index",
    "imap/search/filling": "test_imap_search_index",
    "imap/search/results": f"{SCRIPTS} test_imap_search",
    "imap/search/sort": f"{SCRIPTS} test_imap_sort_reads",
    "imap/selected/append": f"{SCRIPTS} test_imap_limits test_imap_left",
    "imap/selected/catenate": f"{SCRIPTS} test_imap_limits",
    "imap/selected/copy": f"{SCRIPTS} test_imap_identity",
    "imap/selected/expunge": SCRIPTS,
    "imap/selected/fetch": f"{SCRIPTS} test_imap_told",
    "imap/selected/select": f"{SCRIPTS} test_imap_identity",
    "imap/selected/store_flags": f"{SCRIPTS} test_imap_told",
    "imap/view": "test_imap_advance test_imap_model test_imap_told",
    "location": "test_config test_store_layout",
    "mutf7": "test_wire_names",
    "phrases": "test_languages",
    "lmtp/answers": "test_lmtp_parse test_server_lmtp_service",
    "lmtp/commands": "test_lmtp_parse",
    "server/delivering": "test_cli_deliver test_crash_lmtp",
    "server/hook": VALUES,
    "server/lmtp_rules": VALUES,
    "server/programs": "test_server_hook_jobs test_server_warning_jobs test_server_indexing",
    "server/recipients": "test_server_lmtp_service",
    "setting/delivery": "test_config test_server_settings test_server_lmtp_service test_server_hook_jobs",
    "store/namespaces": "test_imap_namespaces test_server_reach",
    "store/several": "test_imap_namespaces",
    "store/share_news": "test_server_reach",
    "store/threads/moves": "test_server_hook_jobs",
    "server/answering": "test_server_control",
    "server/bound": "test_server_service_manager test_server_supervisor test_server_listening",
    "server/announcing": "test_server_listening test_server_processes test_server_exporter",
    "server/channels": "test_server_control",
    "server/children": "test_server_supervisor test_server_heartbeat",
    "server/control_commands": "test_server_control",
    "server/control_protocol": "test_server_control",
    "server/exporting": "test_server_exporter",
    "server/exports": VALUES,
    "server/probed": "test_server_spool_probe",
    "server/extracting": "test_server_indexing",
    "server/identity": "test_server_supervisor",
    "server/lines": "test_server_control",
    "setting/asked": "test_config test_server_settings test_server_auth_service",
    "setting/auth": "test_config test_server_settings test_cli",
    "setting/door": "test_config test_server_settings test_server_proxy",
    "setting/front": "test_config test_server_spool_probe",
    "setting/limits": "test_config test_server_settings test_cli",
    "setting/listening": "test_config test_server_settings test_cli",
    "setting/monitoring": "test_config test_server_settings test_server_exporter",
    "setting/namespaces": "test_namespace_rules test_server_reach",
    "setting/oauth": "test_server_back_ends test_config",
    "setting/mailboxes": "test_config test_server_settings test_cli",
    "setting/running": "test_config test_server_settings test_cli",
    "setting/setting": "test_config test_server_settings test_cli",
    "setting/shown": "test_cli_config",
    "setting/sharing": "test_config test_server_settings test_server_sharing",
    "setting/tls": "test_config test_server_tls",
    "setting/urls": "test_config test_server_urls",
    "setting/users": "test_config test_server_settings test_cli",
    "store/threads/ahead": "test_imap_ahead test_server_field_jobs",
    "server/index_jobs": "test_server_indexing",
    "server/job_queue": "test_server_indexing test_server_field_jobs",
    "server/jobs": "test_server_indexing test_server_field_jobs",
    "server/beside": "test_server_indexing test_server_field_jobs",
    "server/shared": "test_server_heartbeat test_server_failures test_server_deaths",
    "server/spools": "test_cli_migrate test_cli",
    "server/stacks": "test_server_processes",
    "server/tunnel": "test_cli test_server_confine",
    "store/unmoved": "test_store_still",
    "store/current": "test_store_mailbox test_store_watch test_store_races",
    "store/disk/durable": "test_crash_store test_crash_faults test_store_resolve",
    "store/disk/filesystems": "test_store_watch",
    "store/disk/fresh": "test_store_shared_spool",
    "store/disk/inotify": "test_store_watch",
    "store/folder/changes": FOLDER,
    "store/folder/copying": FOLDER,
    "store/folder/compare": "test_store_foreign test_store_mailbox",
    "store/folder/directories": "test_store_mailbox test_store_descriptors",
    "store/folder/files": FOLDER,
    "store/folder/first_contact": "test_store_takeover test_store_index test_store_unseen",
    "store/folder/folder": FOLDER,
    "store/folder/keeping": VALUES,
    "store/folder/mailboxid": "test_imap_objectid",
    "store/folder/reading": "test_store_mailbox test_store_races",
    "store/folder/reconcile": FOLDER,
    "store/folder/showing": "test_store_kept",
    "store/folder/release": "test_cli_migrate test_interop_dovecot_migration",
    "store/index/claim": "test_store_kept",
    "store/index/boot": "test_server_two_hosts test_store_index",
    "store/index/builder": "test_store_snapshot test_store_races",
    "store/index/checkpoint": "test_store_index test_store_snapshot test_store_stored",
    "store/index/columns": "test_store_stored test_imap_stored",
    "store/index/constants": VALUES,
    "store/index/foreign": "test_store_hard_spools",
    "store/index/history": "test_store_mailbox test_imap_model",
    "store/index/loading": "test_store_index test_store_damage",
    "store/index/lock": "test_store_races test_store_stress",
    "store/index/ring": "test_store_races",
    "store/index/state": "test_store_snapshot test_store_index",
    "store/folder/tidying": "test_store_stored",
    "store/folder/overlay": "test_store_virtual test_crash_virtual",
    "store/private": "test_imap_private_seen",
    "store/virtual_account": "test_store_virtual test_imap_virtual",
    "store/virtual_cache": "test_imap_virtual",
    "store/virtual_current": "test_store_virtual test_crash_virtual",
    "store/virtual_sources": "test_store_virtual test_imap_virtual",
    "store/folder/unseen": "test_store_unseen test_imap_unseen",
    "store/listing": ACCOUNT,
    "store/mailboxes": "test_store_races test_store_account",
    "store/maildir/attic": ACCOUNT,
    "store/maildir/flat": ACCOUNT,
    "store/maildir/keywords": "test_store_mailbox test_store_takeover",
    "store/maildir/instead": "test_cli_migrate",
    "store/maildir/layouts": VALUES,
    "store/maildir/nested": ACCOUNT,
    "store/maildir/scan": "test_store_foreign test_store_mailbox",
    "store/names": "test_imap_notify test_imap_notify_model test_store_watch",
    "store/neighbours/courier": NEIGHBOURS,
    "store/neighbours/courier_files": f"{NEIGHBOURS} test_store_courier_keywords",
    "store/neighbours/dotlock": NEIGHBOURS,
    "store/neighbours/dovecot": NEIGHBOURS,
    "store/neighbours/seed": "test_store_takeover",
    "store/neighbours/servers": VALUES,
    "store/neighbours/turns": NEIGHBOURS,
    "store/neighbours/uidlist": "test_store_neighbour test_store_takeover",
    "store/records/account_lock": ACCOUNT,
    "store/records/renaming": "test_store_account test_crash_store",
    "store/records/special_use": f"{SCRIPTS} test_store_account test_store_use_names",
    "store/records/use_names": "test_store_use_names",
    "server/expiry_jobs": "test_server_expiry_jobs test_store_expiring",
    "store/records/usual": "test_store_arranging test_crash_arranging",
    "store/records/subscriptions": "test_store_account test_interop_dovecot_coexist",
    "store/records/uidvalidity": "test_store_account test_store_races",
    "message/attached": "test_imap_search_index",
    "store/records/texts": "test_store_texts test_imap_search_index",
    "store/records/texts_filling": "test_store_texts test_imap_search_index test_crash_texts",
    "store/results": VALUES,
    "store/threads/bell": "test_server_transport test_store_descriptors",
    "store/threads/listeners": "test_store_mailbox",
    "store/threads/locks": "test_lockcheck",
    "store/threads/syncing": "test_store_mailbox",
    "store/trees": ACCOUNT,
    "virtual_rules": "test_server_virtuals",
    "strings": "test_wire_render test_fuzz_wire",
    "toml_lines": "test_config",
    "values": "test_config",
    "wire/abnf": "test_wire_parse test_fuzz_wire",
    "wire/commands": VALUES,
    "wire/cursor": "test_wire_parse",
    "wire/parse_rights": "test_wire_parse",
    "wire/search_keys": VALUES,
}


def own() -> set[str]:
    """The modules that have a test file of their name: test_store_cache for store/index/cache."""
    there = {path.stem for path in TESTS.rglob("test_*.py")}
    return {name for name in modules() if {f"test_{name.split('/')[0]}_{name.split('/')[-1]}", f"test_{name}"} & there}


def modules() -> set[str]:
    return {
        path.relative_to(PACKAGE).with_suffix("").as_posix()
        for path in PACKAGE.rglob("*.py")
        if not path.name.startswith("__")
    }


def test_each_module_has_its_test() -> None:
    without = modules() - own() - set(ELSEWHERE)
    assert not without, sorted(without)


def test_the_list_is_true() -> None:
    assert not set(ELSEWHERE) - modules()
    there = {path.stem for path in TESTS.rglob("test_*.py")} | {VALUES}
    named = {word for tests in ELSEWHERE.values() for word in tests.split()}
    assert not named - there - {SCRIPTS}, sorted(named - there)


def test_what_scripts_are_for_is_in_them() -> None:
    """A command that is left to the scripts stands in one."""
    said = " ".join(path.read_text().upper() for path in (TESTS / "scripts").rglob("*.imap"))
    for name, tests in ELSEWHERE.items():
        if SCRIPTS in tests.split():
            source = (PACKAGE / f"{name}.py").read_text()
            for command in re.findall(r'^@command\(\s*b"([A-Z ]+)"', source, re.MULTILINE):
                assert f" {command} " in said or f" {command}\n" in said, f"{name}: {command}"
