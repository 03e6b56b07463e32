"""Files of other servers on the same spool: taken over once, and kept true beside ours."""
