"""maildir-imapd: an IMAP server for the Maildirs people already have."""

__version__ = "0.2.0"
# When that was; the date of the manual.
__released__ = "2026-11-30"
