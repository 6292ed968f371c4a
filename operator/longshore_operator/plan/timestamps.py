"""Times as the API server writes them: UTC, whole seconds."""

from __future__ import annotations

from datetime import UTC, datetime


def format_time(time: datetime) -> str:
    """``2026-01-31T12:00:00Z``; fractions of a second are dropped."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(text: str | None) -> datetime | None:
    """The reverse; None for what is absent or is no time, since status is only our own memory."""
    try:
        return datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
