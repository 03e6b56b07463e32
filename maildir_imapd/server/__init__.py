"""Processes, threads and sockets around the engine."""
