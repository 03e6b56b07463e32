"""The Maildir itself: names of files and folders, listings, delivery."""
