"""Prometheus' text format, of families and of the processes of a worker."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.platform_collector import PlatformCollector

from longshore.metrics.reading import OfProcess
from longshore.metrics.worker import worker_families

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"  # the form of Asynq's exporter; every scraper reads it


def written(families: Iterable[Metric]) -> bytes:
    """Families as they are, in Prometheus' text format."""
    return generate_latest(_Gathered(families))


def worker_exposition(processes: Sequence[OfProcess]) -> bytes:
    """All that there is to tell of a worker's processes. It takes milliseconds: for a thread."""
    labels = () if any(one.name is None for one in processes) else ("process",)
    readings = [(() if one.name is None else (one.name,), one.reading) for one in processes if one.reading is not None]
    return written(
        [
            *worker_families(readings, *labels),
            *_process_families(processes),
            *PlatformCollector(registry=None).collect(),
        ]
    )


def _process_families(processes: Sequence[OfProcess]) -> list[Metric]:
    """``process_…`` of each process, the samples of one name together."""
    families: dict[str, Metric] = {}
    for one in processes:
        for metric in ProcessCollector(pid=_constant(one.pid), registry=None).collect():
            family = families.setdefault(metric.name, Metric(metric.name, metric.documentation, metric.type))
            more = {} if one.name is None else {"process": one.name}
            family.samples += [sample._replace(labels={**more, **sample.labels}) for sample in metric.samples]
    return [*families.values()]


def _constant(pid: int) -> Callable[[], int]:
    return lambda: pid


class _Gathered(CollectorRegistry):
    """Families as they are: what the library's writer takes."""

    def __init__(self, families: Iterable[Metric]) -> None:
        super().__init__()
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families
