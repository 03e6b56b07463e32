"""Bytes to values and back: the grammar of IMAP, without a socket, a disk or a clock."""
