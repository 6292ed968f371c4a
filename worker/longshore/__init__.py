"""Longshore: background jobs on Redis, in Asynq's own protocol."""
