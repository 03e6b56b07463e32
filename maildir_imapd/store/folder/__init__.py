"""One folder under its lock: its files and its index brought together, and every change of them."""
