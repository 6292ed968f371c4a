"""No-op tasks a second: one `longshore worker` process against Go asynq and the other Python task queues.

    python benchmarks/compare.py [--rounds 3] [--only celery,rq]

Longshore runs at concurrency 100, each peer at its best setting. Each Python peer is as PyPI has it, pinned in
`benchmarks/peers/requirements`, in an environment of its own: they want other versions of redis-py. A trial finds the
best of a peer's settings; then every round runs each of them once, on the same Redis. Tasks are enqueued first, and a
run is measured from the moment when a tenth of the tasks is done to the moment when nine tenths are, as the handlers
themselves count (`peers/counter.py`), so start-up is left out.
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
from typing import assert_never

import redis
from figures import Figure
from figures import table as figures_table
from processes import go_program

from longshore.testing import RedisServer

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "peers"))

import counter  # noqa: E402  # lies beside the peers' own programs
from candidates import GO_ASYNQ, LONGSHORE, PEERS, Home, Peer, Setting  # noqa: E402

ENVIRONMENTS = HERE.parent / ".venv-bench"
GO_PROGRAM = ENVIRONMENTS / "go"
REQUIREMENTS = HERE / "peers" / "requirements"
OURS = str(HERE.parent / "worker")
GO_BAR = 4.0
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
    print()
    measured = figures(rows)
    print(figures_table(measured))
    sys.exit(not all(figure.ok for figure in measured))


def figures(rows: list[Row]) -> list[Figure]:
    """What the comparison says about Longshore: against Go, round by round, and against the best of the others."""
    ours, go, *others = rows
    ratio = statistics.median(mine / theirs for mine, theirs in zip(ours.rates, go.rates, strict=True))
    measured = [
        Figure(
            name="No-op tasks/s, one Python process, concurrency 100, against Go asynq",
            bar=f"≥ {GO_BAR:g}×",
            figure=f"{ratio:.1f}× ({ours.median:,.0f}/s against {go.median:,.0f}/s)",
            ok=ratio >= GO_BAR,
        )
    ]
    if others:
        next_best = max(others, key=lambda row: row.median)
        measured.append(
            Figure(
                name=f"The same against {', '.join(row.name for row in others)}",
                bar="ahead of each",
                figure=f"{ours.median / next_best.median:.1f}× the next, {next_best.name} ({next_best.median:,.0f}/s)",
                ok=ours.median > next_best.median,
            )
        )
    return measured


def compare(peers: list[Peer], *, rounds: int) -> list[Row]:
    """The rates of Longshore, then of Go asynq, then of the peers."""
    everyone = [LONGSHORE, GO_ASYNQ, *peers]
    for peer in everyone:
        prepare(peer)
    with RedisServer() as server:
        settings = {peer: best(server, peer) for peer in everyone}
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
        "| No-op tasks/s | Setting | Median | Lowest | Highest | Longshore is ahead by |",
        "|---|---|---:|---:|---:|---:|",
    ]
    ours = rows[0].median
    for row in sorted(rows, key=lambda row: -row.median):
        ahead = "" if row is rows[0] else f"{ours / row.median:.1f}×"
        lowest, highest = min(row.rates), max(row.rates)
        lines.append(f"| {row.name} | {row.setting} | {row.median:,.0f} | {lowest:,.0f} | {highest:,.0f} | {ahead} |")
    return "\n".join(lines)


def prepare(peer: Peer) -> None:
    """Make the peer's environment or program, unless it is there as pinned."""
    home = ENVIRONMENTS / peer.name
    if peer.home is Home.GO:
        go_program("", GO_PROGRAM)
        return
    if peer.home is Home.OURS:
        return
    pinned = REQUIREMENTS / f"{peer.name}.txt"
    ready = home / ".ready"
    if ready.exists() and ready.read_text() == pinned.read_text():
        return
    print(f"installing {peer.name}", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)], check=True)
    pip = [str(home / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
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
            "PYTHONPATH": str(HERE / "peers")
            if peer.home is Home.PYPI
            else os.pathsep.join([str(HERE / "peers"), OURS]),
        }
        enqueue(peer, tasks, environment)
        with Path(directory, "log").open("w+") as log:
            process = subprocess.Popen(
                command(peer, setting, server, counts),
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
    subprocess.run([python(peer), peer.adapter, str(tasks)], cwd=HERE / "peers", env=environment, check=True)


def python(peer: Peer) -> str:
    """The interpreter that has what the peer's adapter imports."""
    return str(ENVIRONMENTS / peer.name / "bin" / "python") if peer.home is Home.PYPI else sys.executable


def command(peer: Peer, setting: Setting, server: RedisServer, counts: Path) -> list[str]:
    """How to start the worker."""
    program, *options = setting.command
    match peer.home:
        case Home.OURS:
            return [sys.executable, "-m", program, *options, "--redis", server.url]
        case Home.GO:
            address = f"{server.host}:{server.port}"
            return [str(GO_PROGRAM / "server"), *options, "-redis", address, "-counter", str(counts)]
        case Home.PYPI:
            if program == "rq":
                options += ["--url", server.url, "--path", str(HERE / "peers")]
            return [str(ENVIRONMENTS / peer.name / "bin" / program), *options]
        case never:
            assert_never(never)


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
