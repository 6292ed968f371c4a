"""Reads, from Kubernetes and Redis, and what was read, as the plan's input. Nothing here judges or writes."""
