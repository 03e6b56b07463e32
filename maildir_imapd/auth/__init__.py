"""Ways to find out who somebody is, and where his spool is."""
