"""``/metrics``: what the operator knows and has counted, gathered when somebody asks and never before.

No gauge is kept: each answer is made of the state of that moment, so what is gone has no series, and an operator that
nobody scrapes spends nothing on its metrics.
"""
