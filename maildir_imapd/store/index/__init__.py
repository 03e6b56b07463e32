"""UIDs, flags and sizes on record: checkpoint, journal, and the snapshots that readers hold."""
