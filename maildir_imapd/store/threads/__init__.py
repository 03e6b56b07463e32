"""Things that the threads of a process share: locks with ranks, listeners, bells, work done once for many."""
