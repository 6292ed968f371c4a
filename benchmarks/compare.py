"""No-op tasks a second: one `longshore worker` process against other Python task queues, each at its best setting.

    python benchmarks/compare.py [--rounds 3] [--only celery,rq]

Each peer is as PyPI has it, pinned in `benchmarks/peers/requirements`, in an environment of its own: they want other
versions of redis-py. A trial finds the best of a peer's settings; then every round runs each of them once, on the same
Redis. Tasks are enqueued first, and a run is measured from the moment when a tenth of the tasks is done to the moment
when nine tenths are, as the handlers themselves count (`peers/counter.py`), so start-up is left out.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import redis

from longshore.testing import RedisServer

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "peers"))

import counter  # noqa: E402  # lies beside the peers' own programs
from candidates import LONGSHORE, PEERS, Peer, Setting  # noqa: E402

ENVIRONMENTS = HERE.parent / ".venv-bench"
REQUIREMENTS = HERE / "peers" / "requirements"
OURS = [str(HERE.parent / "worker")]
LONGEST_S = 40.0  # for one run; what is slower is measured by what it has done until then


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One line of the comparison."""

    name: str
    setting: str
    rates: tuple[float, ...]  # tasks a second, by round

    @property
    def median(self) -> float:
        """Of the rounds."""
        return statistics.median(self.rates)


def main() -> None:
    """Measure and print a table; exit 1 when a peer is ahead of Longshore."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", help="peers to compare with, separated by commas")
    arguments = parser.parse_args()
    only = arguments.only.split(",") if arguments.only else [peer.name for peer in PEERS]
    rows = compare([peer for peer in PEERS if peer.name in only], rounds=arguments.rounds)
    print()
    print(table(rows))
    sys.exit(any(row.median >= rows[0].median for row in rows[1:]))


def compare(peers: list[Peer], *, rounds: int) -> list[Row]:
    """The rates of Longshore, first, and of the peers."""
    for peer in peers:
        prepare(peer)
    with RedisServer() as server:
        settings = {peer: best(server, peer) for peer in [LONGSHORE, *peers]}
        rates: dict[Peer, list[float]] = {peer: [] for peer in settings}
        for number in range(1, rounds + 1):
            for peer, setting in settings.items():
                rates[peer].append(run(server, peer, setting, peer.tasks))
            said = ", ".join(f"{peer.name} {measured[-1]:,.0f}/s" for peer, measured in rates.items())
            print(f"round {number}: {said}", flush=True)
    return [Row(name=peer.name, setting=setting.name, rates=tuple(rates[peer])) for peer, setting in settings.items()]


def table(rows: list[Row]) -> str:
    """The rows in Markdown, the fastest first."""
    lines = [
        "| no-op tasks/s | setting | median | lowest | highest | Longshore is ahead by |",
        "|---|---|---:|---:|---:|---:|",
    ]
    ours = rows[0].median
    for row in sorted(rows, key=lambda row: -row.median):
        ahead = "" if row is rows[0] else f"{ours / row.median:.1f}×"
        lowest, highest = min(row.rates), max(row.rates)
        lines.append(f"| {row.name} | {row.setting} | {row.median:,.0f} | {lowest:,.0f} | {highest:,.0f} | {ahead} |")
    return "\n".join(lines)


def prepare(peer: Peer) -> None:
    """Make the peer's environment, unless it is there as pinned."""
    environment = ENVIRONMENTS / peer.name
    pinned = REQUIREMENTS / f"{peer.name}.txt"
    ready = environment / ".ready"
    if ready.exists() and ready.read_text() == pinned.read_text():
        return
    print(f"installing {peer.name}", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(environment)], check=True)
    pip = [str(environment / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--require-hashes", "--requirement", str(pinned)], check=True)
    ready.write_text(pinned.read_text())


def best(server: RedisServer, peer: Peer) -> Setting:
    """The setting with the highest rate."""
    if len(peer.settings) == 1:
        return peer.settings[0]
    trial = {setting: run(server, peer, setting, peer.tasks // 2) for setting in peer.settings}
    said = ", ".join(f"{setting.name}: {rate:,.0f}/s" for setting, rate in trial.items())
    print(f"{peer.name}, trial: {said}", flush=True)
    return max(trial, key=lambda setting: trial[setting])


def run(server: RedisServer, peer: Peer, setting: Setting, tasks: int) -> float:
    """Tasks a second of one worker."""
    with redis.Redis(port=server.port) as client:
        client.flushall()
    with tempfile.TemporaryDirectory(prefix="longshore-bench-") as directory:
        counts = Path(directory, "counts")
        counter.create(counts)
        environment = {
            **os.environ,
            **dict(setting.environment),
            "BENCH_REDIS": server.url,
            "BENCH_COUNTER": str(counts),
            "PYTHONPATH": os.pathsep.join([str(HERE / "peers"), *OURS]) if peer is LONGSHORE else str(HERE / "peers"),
        }
        enqueue(peer, tasks, environment)
        with Path(directory, "log").open("w+") as log:
            process = subprocess.Popen(
                command(peer, setting, server.url),
                cwd=HERE / "peers",
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                return measure(process, counts, tasks)
            except Exception:
                log.seek(0)
                print(log.read()[-2000:], file=sys.stderr)
                raise
            finally:
                end(process)


def enqueue(peer: Peer, tasks: int, environment: dict[str, str]) -> None:
    """Put the tasks into Redis."""
    subprocess.run([python(peer), f"{peer.module}.py", str(tasks)], cwd=HERE / "peers", env=environment, check=True)


def python(peer: Peer) -> str:
    """The interpreter that has the peer."""
    return sys.executable if peer is LONGSHORE else str(ENVIRONMENTS / peer.name / "bin" / "python")


def command(peer: Peer, setting: Setting, redis_url: str) -> list[str]:
    """How to start the worker."""
    program, *options = setting.command
    if peer is LONGSHORE:
        return [python(peer), "-m", program, *options, "--redis", redis_url]
    if peer.name == "rq":
        options += ["--url", redis_url, "--path", str(HERE / "peers")]
    return [str(Path(python(peer)).with_name(program)), *options]


def measure(process: subprocess.Popen[bytes], counts: Path, tasks: int) -> float:
    """The rate from a tenth to nine tenths of the tasks."""
    begin, finish = tasks // 10, tasks * 9 // 10
    give_up_at = time.perf_counter() + LONGEST_S
    first: tuple[int, float] | None = None
    while True:
        done, now = counter.total(counts), time.perf_counter()
        if first is None and done >= begin:
            first = done, now
        if first is not None and (done >= finish or now > give_up_at) and done > first[0]:
            return (done - first[0]) / (now - first[1])
        if process.poll() is not None or now > give_up_at:
            raise RuntimeError(f"after {done} of {tasks} tasks: the worker ended with {process.poll()}")
        time.sleep(0.005)


def end(process: subprocess.Popen[bytes]) -> None:
    """Stop a worker and whatever it has started: they are a process group of their own."""
    for number, wait_s in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(timeout=wait_s)
        except subprocess.TimeoutExpired:
            continue
    process.wait()


if __name__ == "__main__":
    main()
