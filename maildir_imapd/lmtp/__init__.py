"""LMTP without sockets (RFC 2033): command lines to values, the dialogue, and messages on their way into mailboxes."""
