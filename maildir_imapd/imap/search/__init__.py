"""Which messages meet a search, in which order, and how the answer is written."""
