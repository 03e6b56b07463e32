"""The only way to the disk: descriptors with an owner, paths resolved safely, durable changes, inotify."""
