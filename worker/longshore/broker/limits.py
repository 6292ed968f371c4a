"""Limits that several operations share."""

from __future__ import annotations

from datetime import timedelta

# Ids per script call: Lua hands at most some 8,000 values to one command, and a long script delays every other client.
MOST_AT_ONCE = 1000

# Payload bytes sent in one round trip, unless a single task has more: what a slow network carries within a time limit.
MOST_BYTES = 4 * 1024 * 1024

# Asynq keeps archived tasks for 90 days and at most 9,999 of them, and the daily counters for 90 days.
ARCHIVE_AGE = timedelta(days=90)
ARCHIVE_SIZE = 9_999
COUNTER_AGE = timedelta(days=90)

# How long a queue's own limits of the archive hold when nobody renews them.
ARCHIVE_LIMITS_LIFETIME = timedelta(days=7)

# How many surplus tasks one archive call deletes for each reason.
TRIM_LIMIT = MOST_AT_ONCE
