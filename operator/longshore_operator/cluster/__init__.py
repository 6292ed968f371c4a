"""The API server: how to reach it, which kinds we use, and one thin client. No judgement, no state of ours.

The only package that speaks HTTP to Kubernetes (kopf's own requests go through a session made here, too).
"""
