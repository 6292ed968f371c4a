"""What can go wrong with the demo itself, as opposed to a check that did not pass."""


class DemoError(Exception):
    """The story cannot go on; the message says at what and what to look at."""
