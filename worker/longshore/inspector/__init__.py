"""Every read and every administrative action on a Redis: the one door for the operator, the CLI and scripts.

One concept a file, each a part of :class:`Inspector`. What must be one step is a script in broker/scripts.
"""

from __future__ import annotations

from longshore.inspector.archive import Archive
from longshore.inspector.cancelling import Cancelling
from longshore.inspector.payload_update import PayloadUpdate
from longshore.inspector.queues import Queues
from longshore.inspector.removal import Removal
from longshore.inspector.servers import Servers
from longshore.inspector.tasks import Tasks

__all__ = ["Inspector"]


class Inspector(Queues, Tasks, PayloadUpdate, Cancelling, Archive, Removal, Servers):
    """Reads queues, tasks, servers and schedulers of one Redis, and acts on them.

    Safe to share between asyncio tasks of one event loop. Every method raises BrokerUnavailable, with Redis' own
    reason, when Redis does not answer, and WrongType when a key it needs holds something else.
    """
