"""python -m maildir_imapd"""

from maildir_imapd.cli import main

main(prog_name="maildir-imapd")
