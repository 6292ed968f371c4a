"""``python -m longshore``: the same as the ``longshore`` command."""

from longshore.cli import main

main()
