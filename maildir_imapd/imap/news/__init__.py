"""News of mailboxes, told when the RFCs let it be told: updates, contexts, QRESYNC, NOTIFY, IDLE."""
