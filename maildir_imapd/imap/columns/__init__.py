"""Values of messages, a column of them at a time: what FETCH, SEARCH and SORT are made of."""
