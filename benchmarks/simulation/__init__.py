"""Scaling simulated: the operator's real decision, and KEDA's documented rules, on the same load and the same pods.

    loads      when tasks arrive and how long each runs: made from a seed, or recorded
    world      a queue, pods that take time to start, tasks that run: events in simulated time
    scalers    who decides the count: ours, and KEDA with the HorizontalPodAutoscaler
    outcome    what one run showed, in figures and as curves
    picture    the curves drawn
    __main__   runs everything, writes docs/performance.md and the picture

Nothing waits and nothing is random but for the seeds, so the figures are the same on every machine.
"""
