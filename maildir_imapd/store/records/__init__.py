"""Files of the account, one module each: quota, annotations, rights, subscriptions, UIDVALIDITY, renames."""
