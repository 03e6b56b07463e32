"""News of the list of shares, as the watch thread finds them."""

from __future__ import annotations

import os
from pathlib import Path

from maildir_imapd.store.disk import inotify
from maildir_imapd.store.records.acl import Kind, Who
from maildir_imapd.store.records.shares import ShareList
from maildir_imapd.store.share_news import ShareNews
from maildir_imapd.store.watch import Watcher


def test_whoever_listens_hears_of_another_list(tmp_path: Path) -> None:
    shares = ShareList(bytes(tmp_path / "shares"))
    watcher = Watcher("poll", interval=3600)
    news = ShareNews(shares, watcher)
    heard: list[str] = []
    assert not news.listened
    try:
        stop = news.listen(lambda: heard.append("one"))
        assert news.listened
        assert news.watches() == [(os.fsencode(tmp_path), inotify.DIRECTORY)]
        with news.looking():
            assert news.refresh() is None
        assert heard == []
        shares.put("ann", [Who(Kind.USER, "bob")])
        news.refresh()
        news.refresh()
        assert heard == ["one"]
        again = news.listen(lambda: heard.append("two"))
        stop()
        shares.put("ann", [])
        news.refresh()
        assert heard == ["one", "two"]
        again()
        assert not news.listened
    finally:
        watcher.close()
