"""The custom resources as values: the models of the four kinds, their condition types and their reasons. Pure.

``crds/*.yaml`` is the source of truth; tests compare the models with it, field by field and default by default. What
the API server has validated is trusted here, so the models hold types and defaults, and the bounds stay in the CRDs.
"""
