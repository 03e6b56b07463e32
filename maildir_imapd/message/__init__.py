"""One mail's octets to its structure and the wire text made of it; pure functions."""
