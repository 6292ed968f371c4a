"""The peers: how each one's worker is started, and the settings among which a trial finds its best."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Home(Enum):
    """Where a peer's programs are."""

    OURS = "ours"  # this repository's environment
    PYPI = "pypi"  # an environment of the peer's own
    GO = "go"  # compiled from the folder of Go programs


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """One way to run a peer's worker."""

    name: str  # as people read it
    command: tuple[str, ...]  # the program, which lies in the peer's environment, and its arguments
    environment: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Peer:
    """A task queue to compare with."""

    name: str
    settings: tuple[Setting, ...]
    tasks: int  # so many that a round lasts for some seconds
    home: Home = Home.PYPI
    producer: str = ""  # the program that enqueues; by default the adapter of the peer's name

    @property
    def adapter(self) -> str:
        """The program that enqueues as many tasks as its argument says."""
        return f"{self.producer or self.name}_app.py"


def _celery(name: str, *options: str, prefetch: int = 100) -> Setting:
    quiet = ("--loglevel", "ERROR", "--without-gossip", "--without-mingle", "--without-heartbeat")
    return Setting(
        name=name,
        command=("celery", "--app", "celery_app", "worker", *quiet, *options),
        environment=(("BENCH_PREFETCH", str(prefetch)),),
    )


def _dramatiq(processes: int, threads: int) -> Setting:
    return Setting(
        name=f"{processes} processes of {threads} threads" if processes > 1 else f"1 process of {threads} threads",
        command=("dramatiq", "dramatiq_app", "--processes", str(processes), "--threads", str(threads)),
    )


def _taskiq(broker: str, workers: int) -> Setting:
    return Setting(
        name=f"{broker} broker, {_processes(workers)}",
        command=(
            *("taskiq", "worker", "taskiq_app:broker", "--workers", str(workers), "--log-level", "ERROR"),
            *("--max-async-tasks", "100", "--max-prefetch", "100", "--no-parse"),
        ),
        environment=(("BENCH_BROKER", broker),),
    )


def _saq(concurrency: int, workers: int) -> Setting:
    return Setting(
        name=f"concurrency {concurrency}, {_processes(workers)}",
        command=("saq", "saq_app.settings", "--workers", str(workers), "--quiet"),
        environment=(("BENCH_CONCURRENCY", str(concurrency)),),
    )


def _streaq(concurrency: int, workers: int) -> Setting:
    return Setting(
        name=f"concurrency {concurrency}, {_processes(workers)}",
        command=("streaq", "run", "streaq_app:worker", "--workers", str(workers)),
        environment=(("BENCH_CONCURRENCY", str(concurrency)),),
    )


def _arq(jobs: int) -> Setting:
    return Setting(
        name=f"max_jobs {jobs}, 1 process",
        command=("arq", "arq_app.WorkerSettings"),
        environment=(("BENCH_CONCURRENCY", str(jobs)),),
    )


def _rq(name: str, *options: str) -> Setting:
    return Setting(name=name, command=("rq", *options))


def _processes(number: int) -> str:
    return "1 process" if number == 1 else f"{number} processes"


PEERS = (
    Peer(
        name="celery",
        tasks=6_000,
        settings=(
            _celery("prefork, 2 processes", "--pool", "prefork", "--concurrency", "2"),
            _celery("solo, 1 process", "--pool", "solo"),
            _celery("20 threads, 1 process", "--pool", "threads", "--concurrency", "20"),
            _celery("gevent 100, 1 process", "--pool", "gevent", "--concurrency", "100", prefetch=1),
        ),
    ),
    Peer(
        name="rq",
        tasks=3_000,
        settings=(
            _rq(
                "SimpleWorker, 2 processes",
                "worker-pool",
                "--num-workers",
                "2",
                *("-w", "rq.worker.SimpleWorker", "-q"),
            ),
            _rq("SimpleWorker, 1 process", "worker", "--worker-class", "rq.worker.SimpleWorker", "--quiet"),
        ),
    ),
    Peer(name="dramatiq", tasks=6_000, settings=(_dramatiq(1, 8), _dramatiq(2, 8), _dramatiq(2, 2))),
    Peer(name="arq", tasks=3_000, settings=(_arq(10), _arq(100))),
    Peer(
        name="taskiq",
        tasks=12_000,
        settings=(_taskiq("list", 1), _taskiq("list", 2), _taskiq("stream", 1), _taskiq("stream", 2)),
    ),
    Peer(name="saq", tasks=6_000, settings=(_saq(10, 1), _saq(100, 1), _saq(10, 2))),
    Peer(name="streaq", tasks=12_000, settings=(_streaq(100, 1), _streaq(32, 1), _streaq(100, 2))),
)

GO_ASYNQ = Peer(
    name="Go asynq",
    home=Home.GO,
    producer="longshore",
    tasks=20_000,
    settings=tuple(
        Setting(name=f"concurrency {number}, 1 process", command=("asynq", "-concurrency", str(number)))
        for number in (2, 10, 50, 100, 200)
    ),
)

LONGSHORE = Peer(
    name="longshore",
    home=Home.OURS,
    tasks=60_000,
    settings=(
        Setting(
            name="concurrency 100, 1 process",
            command=("longshore", "worker", "longshore_app:app", "--concurrency", "100", "--log-level", "warning"),
        ),
    ),
)
