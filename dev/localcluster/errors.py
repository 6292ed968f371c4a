"""What can go wrong, split by who can do something about it.

ClusterError                a step failed; the message says which and shows the end of its log
  MachineCannot             this machine lacks something for good (no root, no Go): the one case tests may skip
"""


class ClusterError(Exception):
    """A step of bringing the cluster up or down failed."""


class MachineCannot(ClusterError):
    """This machine cannot run the asked-for part; the message is one line that names what is missing."""
