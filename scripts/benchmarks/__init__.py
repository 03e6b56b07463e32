"""The benchmark: our server beside Dovecot, the same operations in alternation, ratios (``scripts/bench``)."""
