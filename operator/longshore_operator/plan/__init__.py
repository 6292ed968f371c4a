"""All judgement of the operator: ``(object, observed, now) -> Plan``. Pure: no I/O, no clock, no Kubernetes client.

Functions here are values in, values out; they are tested by value and printed by a dry run.
"""
