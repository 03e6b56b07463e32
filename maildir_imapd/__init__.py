"""maildir-imapd: an IMAP server for the Maildirs people already have."""

__version__ = "0.1.0"
