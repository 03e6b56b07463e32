"""Commands on the messages of mailboxes: open one, read, flag, add, copy, move, remove."""
