"""Names of users and mailboxes for the completion of a shell: what cannot be known at once is not offered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maildir_imapd.errors import ImapdError

if TYPE_CHECKING:
    import click

    from maildir_imapd.config import Config

# A shell shows no more.
_MOST = 500


def users(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    """Offer the users that are at hand here."""
    from maildir_imapd.server import settings

    try:
        chain = settings.chain(_chosen(context)[0])
        names = (each.user for each in chain.everybody(at_hand=True) if each.user.startswith(begun))
        return [name for name, _ in zip(names, range(_MOST), strict=False)]
    except (ImapdError, OSError):
        return []


def mailboxes(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    """Offer the mailboxes of the user, or the first of them; nothing on the disk is changed."""
    from maildir_imapd.server import spools
    from maildir_imapd.store.disk import durable

    try:
        config, names = _chosen(context)
        identity = spools.chosen(config, names[:1], everybody=False)[0]
        with durable.untouched(), spools.opened(config, identity) as account:
            return [row.name for row in account.folders() if row.name.startswith(begun)][:_MOST]
    except (ImapdError, OSError):
        return []


def _chosen(context: click.Context) -> tuple[Config, tuple[str, ...]]:
    """Read the configuration and the users that stand on the line so far."""
    from maildir_imapd import log
    from maildir_imapd.cli.options import SPOOL_SETTINGS, read_config

    log.set_up("critical", None)
    given = {name: context.params.get(name) for name in SPOOL_SETTINGS}
    names = tuple(context.params.get("names") or ()) or tuple(filter(None, (context.params.get("user"),)))
    return read_config(context.params.get("config_file"), given, own=not names, forgiving=True), names
