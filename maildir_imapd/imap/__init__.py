"""Where wire, message and store meet: sessions and commands, without a socket or a thread."""
