"""``python -m ecgconsole``."""

from ecgconsole.cli import main

main()
