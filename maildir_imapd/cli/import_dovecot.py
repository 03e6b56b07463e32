"""From a configuration of Dovecot's, 2.3 or 2.4, to one of ours: one module a subject, and here the order of them.

Every setting is carried over, or is on the list of those that users need not hear of, or is named with what it means.
"""

from __future__ import annotations

from maildir_imapd.cli.dovecot_config import DovecotTree
from maildir_imapd.cli.dovecot_features import features
from maildir_imapd.cli.dovecot_mail import mail
from maildir_imapd.cli.dovecot_namespaces import namespaces
from maildir_imapd.cli.dovecot_reading import DovecotReading
from maildir_imapd.cli.dovecot_services import services
from maildir_imapd.cli.dovecot_tables import HARMLESS, MEANINGS, meaning
from maildir_imapd.cli.dovecot_users import users
from maildir_imapd.cli.imported import Imported
from maildir_imapd.errors import ConfigError


def from_dovecot(tree: DovecotTree) -> Imported:
    """Carry Dovecot's settings over; raises ConfigError for a file that is not whole without others."""
    if tree.includes:
        lines = ", ".join(str(include.line) for include in tree.includes)
        raise ConfigError(f"this file includes others (line {lines}): give the output of 'doveconf -n' instead")
    reading = DovecotReading(tree)
    homes = users(reading)
    mail(reading, homes)
    namespaces(reading, homes)
    services(reading)
    features(reading)
    _rest(reading)
    return reading.out


def _rest(reading: DovecotReading) -> None:
    """Name what nothing has understood."""
    for path, setting in reading.rest():
        name = setting.name.partition(":")[0]
        first = path.partition("/")[0]
        if meaning(name, HARMLESS):
            continue
        if first.startswith("protocol ") and first != "protocol imap":
            # Plugins and the like of a protocol that is named itself.
            if name != "mail_plugins":
                reading.out.tell(path, meaning(name, MEANINGS) or f"it is for {first} only")
            continue
        if first.startswith("dict"):
            reading.out.tell(first.partition(" ")[0], "Dovecot's dictionaries are not read")
            continue
        why = meaning(name, MEANINGS) or meaning(first.partition(" ")[0], MEANINGS) or "there is no such setting here"
        reading.out.tell(path.removeprefix("plugin/"), why)
