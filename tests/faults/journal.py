"""What handlers did and servers said, one line each, in a file that outlives a killed process."""

from __future__ import annotations

import json
import logging
import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Log records that say that the end of an attempt did not count.
_NOT_COUNTED = {
    "task_recovered",
    "outcome_too_late",
    "outcome_not_owned",
    "requeue_failed",
    "lease_lost",
}


class Journal:
    """Appends lines; any number of processes may share the file. A line is written at once and whole."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def close(self) -> None:
        os.close(self._file)

    def note(self, what: str, **fields: Any) -> None:
        os.write(self._file, json.dumps({"what": what, "pid": os.getpid()} | fields).encode() + b"\n")

    def read(self) -> Story:
        """All that was written until now."""
        story = Story()
        for line in self.path.read_bytes().splitlines():
            story.add(json.loads(line))
        return story


class Story:
    """A journal's content, added up."""

    def __init__(self) -> None:
        self.runs: Counter[tuple[str, int]] = Counter()  # attempts begun: task id, retried before it
        self.pids: dict[tuple[str, int], list[int]] = defaultdict(list)  # who ran them
        self.merged: dict[str, list[str]] = {}  # id of a merged task → ids of its parts
        self.not_counted: set[str] = set()  # tasks of which a server said that an attempt's end did not count
        self.recovered: Counter[str] = Counter()
        self.actions: Counter[str] = Counter()

    def add(self, line: dict[str, Any]) -> None:
        if line["what"] == "run":
            attempt = (line["id"], line["retried"])
            self.runs[attempt] += 1
            self.pids[attempt].append(line["pid"])
        elif line["what"] == "merged":
            self.merged[line["id"]] = line["parts"]
        elif line["what"] == "log":
            self.actions[line["action"]] += 1
            if line["action"] in _NOT_COUNTED:
                self.not_counted.add(line["id"])
            if line["action"] == "task_recovered":
                self.recovered[line["id"]] += 1

    @property
    def ids(self) -> set[str]:
        """Tasks that ran."""
        return {task_id for task_id, _ in self.runs}

    @property
    def repeated(self) -> dict[tuple[str, int], int]:
        """Attempts that were begun more than once, and how often beyond the first."""
        return {attempt: count - 1 for attempt, count in self.runs.items() if count > 1}


class JournalHandler(logging.Handler):
    """Lets the servers' own log records that name an action go into a journal as well."""

    def __init__(self, journal: Journal) -> None:
        super().__init__()
        self._journal = journal

    def emit(self, record: logging.LogRecord) -> None:
        if action := getattr(record, "action", None):
            self._journal.note("log", action=action, id=getattr(record, "task_id", None))


@contextmanager
def journalled_logs(journal: Journal) -> Iterator[None]:
    """What servers log goes into the journal for the length of the block."""
    logger, handler = logging.getLogger("longshore"), JournalHandler(journal)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
