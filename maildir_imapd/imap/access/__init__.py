"""The way in, what is announced, and what holds for the whole connection."""
