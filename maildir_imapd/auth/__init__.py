"""Who is this, and where is the spool."""
