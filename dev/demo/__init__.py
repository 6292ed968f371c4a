"""The demo: the shop on a local cluster, 2,000 tasks from Go at zero replicas, and a summary it verified itself.

    python -m demo          # the whole story; exit code 0 only if every check passed
    python -m demo down     # remove everything

What happens is in `story`; what counts as success is in `verdict`, a pure function of the `evidence`.
"""
