"""The disk: Maildir folders and the index beside them; knows nothing of the wire."""
