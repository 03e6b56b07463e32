"""Names of mailboxes and what belongs to them: lists, status, rights, annotations, quota, kept searches."""
