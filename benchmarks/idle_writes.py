"""What the operator writes to the API server while nothing happens, as the API server's audit log has it.

    python benchmarks/idle_writes.py [--objects 100] [--seconds 60]

So many idle pools at zero and as many queues, all Ready. Counted is every writing request of the operator's service
account but those for its Lease. Also told: the operator's processor time. Exit code 1 when there was any.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from pathlib import Path

from operator_cluster import Bench, bench

from handlers.harness import broker, pool, queue
from handlers.waiting import eventually

SETTLE_S = 10.0


def measure(bench: Bench, objects: int, seconds: float) -> Counter[str]:
    namespace = bench.namespace
    namespace.apply(broker(bench.redis_url))
    for number in range(objects):
        namespace.apply(queue(f"queue-{number}"))
        namespace.apply(pool(f"pool-{number}", f"queue-{number}", autoscaling={"maxReplicas": 5}))

    def settled() -> tuple[int, int]:
        listed = [*namespace.list("Queue"), *namespace.list("WorkerPool")]
        conditions = [each for item in listed for each in item.get("status", {}).get("conditions", ())]
        found = Counter((each["type"], each["status"]) for each in conditions)
        return found["Ready", "True"], found["Progressing", "False"]

    # The controller of Deployments needs a while for so many: it is the last to be done.
    eventually(settled, (2 * objects, objects), within_s=180)
    time.sleep(SETTLE_S)
    begin, processor_s = bench.audit_log.stat().st_size, cpu_s(bench.operator.pid)
    print(f"{objects} pools and {objects} queues are Ready; now watching for {seconds:g} s")
    time.sleep(seconds)
    used = cpu_s(bench.operator.pid) - processor_s
    print(f"processor time of the operator: {used:.1f} s, {100 * used / seconds:.1f} % of one processor")
    found = writes(bench, begin)
    if found["create/events"]:
        newest = max(namespace.list("Event"), key=lambda event: str(event.get("lastTimestamp")))
        print(f"the newest Event, of {newest['involvedObject']['name']}: {newest['reason']}: {newest['message']}")
    return found


def writes(bench: Bench, begin: int) -> Counter[str]:
    """The operator's writing requests in the audit log from that byte on, by verb and resource."""
    account = f"system:serviceaccount:{bench.namespace.name}:operator"
    found: Counter[str] = Counter()
    with bench.audit_log.open("rb") as log:
        log.seek(begin)
        for line in log:
            entry = json.loads(line)
            if entry["user"]["username"] == account and entry["verb"] not in ("get", "list", "watch"):
                reference = entry["objectRef"]
                found["/".join(filter(None, (entry["verb"], reference["resource"], reference.get("subresource"))))] += 1
    return found


def cpu_s(pid: int) -> float:
    """Processor seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=60.0)
    arguments = parser.parse_args()
    with bench() as ready:
        found = measure(ready, arguments.objects, arguments.seconds)
    lease = found.pop("update/leases", 0)
    print(f"writes in {arguments.seconds:g} s: {found.total()} besides {lease} renewals of the Lease (bar: 0)")
    for what, count in found.most_common():
        print(f"  {count} × {what}")
    return 0 if found.total() == 0 and lease > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
