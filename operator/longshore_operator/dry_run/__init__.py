"""What the operator would do with some manifests, without a cluster: the real handlers on an API server in memory.

manifests    files → documents, each with its place in the file
definitions  the custom resource definitions: defaults, and what the API server would refuse
memory       an API server in memory, and a Redis that is only read
rehearsal    every object visited once
printing     what came of it, for people and for programs
command      ``python -m longshore_operator plan``
"""
