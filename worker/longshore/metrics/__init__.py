"""What Prometheus is told, from values that were read elsewhere. What writes it needs the extra ``metrics``.

Nothing here reads Redis, starts a server or keeps a series: whoever serves ``/metrics`` hands over what it knows at
that moment, so a queue that is gone is gone from the answer, too. ``distribution`` and ``reading``, in which a worker
counts and tells its counts, need no extra.
"""
