"""docs/observability.md names every log record with its fields, as the source has them."""

from __future__ import annotations

import log_actions


def test_the_table_of_log_records_is_that_of_the_source() -> None:
    assert log_actions.PAGE.read_text() == log_actions.page(), "run: python dev/log_actions.py"


def test_the_table_finds_records_however_they_are_written() -> None:
    """One of each kind: a plain call, through a function, with a level by case, with fields of a variable."""
    lines = {line.split("`")[1]: line for line in log_actions.table().splitlines()[2:]}
    assert lines["settle_failed"] == "| `settle_failed` | error | Outcomes could not be written | `queue` |"
    assert lines["outcome_too_late"].endswith("| `outcome`, `queue`, `task_id` |")
    assert "| warning, error |" in lines["task_failed"]
    assert "`reason`" in lines["task_failed"]
    assert "| Resumed: tasks are taken again | `server_id` |" in lines["server_resumed"]
    assert lines["task_succeeded"].endswith("| `queue`, `retried`, `seconds`, `task_id`, `task_type` |")
