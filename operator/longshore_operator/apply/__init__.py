"""Writes: the only code that changes anything in Kubernetes or Redis. Each write may be repeated at no harm."""
