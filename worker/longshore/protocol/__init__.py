"""Asynq's wire protocol as values, keys and bytes. Pure: no I/O, no clock, no randomness."""
