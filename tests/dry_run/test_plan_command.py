"""``python -m longshore_operator plan``, as a person calls it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml
from click.testing import CliRunner, Result

from localcluster.access import Access
from longshore import SyncClient
from longshore_operator.__main__ import main

SHOP = """
apiVersion: longshore.dev/v1alpha1
kind: Broker
metadata: {name: default}
spec: {url: "redis://redis:6379/0", auth: {passwordSecretRef: {name: redis}}}
---
apiVersion: longshore.dev/v1alpha1
kind: WorkerPool
metadata: {name: mail}
spec:
  queues: [{name: critical}]
  image: shop:1.0
  app: shop.tasks:app
  autoscaling: {maxReplicas: 30, targetPerReplica: 40}
---
apiVersion: longshore.dev/v1alpha1
kind: PeriodicTask
metadata: {name: report}
spec: {schedule: "0 3 * * *", task: {type: report}}
"""


def plan(*arguments: str, text: str = SHOP) -> Result:
    return CliRunner().invoke(main, ["plan", "-f", "-", *arguments], input=text)


def test_it_says_what_would_be_applied_and_why_so_many() -> None:
    result = plan("--backlog", "critical=2400")
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert "  replicas 0 → 30: 2400 waiting / 40 per replica = 60, limited by maxReplicas" in lines
    assert "  apply Deployment mail-worker: 30 replicas; image shop:1.0" in lines
    assert "  apply Deployment default-scheduler: 1 replicas; image longshore" in lines
    assert "  Redis: write_periodic default/default: set report" in lines
    assert lines[-1] == "3 objects"


def test_a_disruption_budget_is_told_with_its_limit() -> None:
    result = plan(text=SHOP.replace("  app: shop.tasks:app\n", "  app: shop.tasks:app\n  disruption: {}\n"))
    assert "  apply PodDisruptionBudget mail-worker: at most 1 unavailable" in result.output.splitlines()


def test_what_a_queue_would_have_done_in_redis_is_told() -> None:
    limits = "archive: {maxTasks: 100, maxAge: 24h}"
    mail = f"{{kind: Queue, metadata: {{name: mail}}, spec: {{paused: true, deletionPolicy: Delete, {limits}}}}}"
    result = plan(text=f"{SHOP}---\n{mail[:-1]}, apiVersion: longshore.dev/v1alpha1}}")
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert "  Redis: pause mail" in lines
    assert "  Redis: limit_archive mail: max_tasks 100, max_age 24h" in lines
    assert '  patch Queue mail: metadata.finalizers = ["longshore.dev/remove-queue"]' in lines


def test_without_a_redis_every_queue_is_taken_for_empty() -> None:
    assert "  replicas 0: nothing waits or runs" in plan().output.splitlines()


def test_the_backlog_of_a_real_redis_is_read_and_nothing_is_written_there(
    redis_url: str, redis_client: redis.Redis
) -> None:
    with SyncClient(redis_url) as client:
        for _ in range(100):
            client.enqueue("mail", queue="critical")
    before = sorted(redis_client.keys())
    result = plan("--redis", redis_url)
    assert result.exit_code == 0, result.output
    assert "  replicas 0 → 3: 100 waiting / 40 per replica = 3" in result.output.splitlines()
    assert sorted(redis_client.keys()) == before


def test_a_redis_that_does_not_answer_is_a_problem_and_no_empty_queue() -> None:
    result = plan("--redis", "redis://127.0.0.1:1/0")
    assert result.exit_code == 1
    assert "not ready: BrokerUnreachable" in result.output
    assert "held while the Broker cannot be read" in result.output


def test_what_the_api_server_would_refuse_is_told_with_field_and_rule() -> None:
    result = plan(text=SHOP.replace("maxReplicas: 30", "maxReplicas: 30, minReplicas: 31"))
    assert result.exit_code == 1
    assert "  refused: spec.autoscaling: minReplicas must not be greater than maxReplicas" in result.output.splitlines()
    assert result.output.splitlines()[-1] == "3 objects, 1 refused"


def test_an_object_that_would_not_become_ready_says_why() -> None:
    result = plan(text=SHOP.replace("name: default}", "name: other}"))
    assert result.exit_code == 1
    assert "not ready: BrokerNotFound" in result.output


def test_a_secret_among_the_manifests_must_have_the_key_and_is_never_printed() -> None:
    secret = "---\napiVersion: v1\nkind: Secret\nmetadata: {name: redis}\nstringData: {%s: hunter2}\n"
    good = plan("--output", "json", text=SHOP + secret % "password")
    assert good.exit_code == 0, good.output
    assert "hunter2" not in good.output
    bad = plan(text=SHOP + secret % "pass")
    assert bad.exit_code == 1
    assert "SecretNotFound: Secret redis has no key password; add it" in bad.output


def test_yaml_is_what_the_operator_would_apply_and_nothing_else() -> None:
    result = plan("--output", "yaml", "--namespace", "shop")
    names = [(each["kind"], each["metadata"]["namespace"], each["metadata"]["name"]) for each in _all(result.stdout)]
    assert names == [("Deployment", "shop", "default-scheduler"), ("Deployment", "shop", "mail-worker")]


@pytest.mark.cluster
def test_a_real_api_server_takes_what_is_printed(control_plane: Access) -> None:
    with control_plane.namespace("planned") as name:
        result = plan("--output", "yaml", "--namespace", name)
        said = control_plane.kubectl(
            "apply", "--server-side", "--dry-run=server", "--validate=strict", "--filename=-", input=result.stdout
        )
    assert "deployment.apps/mail-worker serverside-applied" in said


def test_json_holds_the_same_for_programs() -> None:
    result = plan("--output", "json", "--backlog", "critical=1")
    printed = json.loads(result.stdout)
    assert printed["good"]
    pool = next(each for each in printed["objects"] if each["kind"] == "WorkerPool")
    assert pool["decision"] == "0 → 1: 1 waiting / 40 per replica = 1"
    assert [write["what"] for write in pool["writes"]] == ["Deployment"]


def test_a_problem_is_told_beside_yaml_too() -> None:
    result = plan("--output", "yaml", text=SHOP.replace("maxReplicas: 30", "maxReplicas: 0"))
    assert result.exit_code == 1
    assert "WorkerPool default/mail: spec.autoscaling.maxReplicas: 0 is less than 1" in result.stderr


def test_files_folders_lists_and_other_kinds_are_read(tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text(
        json.dumps({"apiVersion": "v1", "kind": "List", "items": list(_all(SHOP))}), encoding="utf-8"
    )
    (tmp_path / "other.yml").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n---\n")
    (tmp_path / "notes.txt").write_text("no manifest")
    result = CliRunner().invoke(main, ["plan", "-f", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-1] == "3 objects, 1 of other kinds left alone"
    assert "list.json, item 2)" in result.output


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [", "standard input: while parsing a flow node"),
        ("just text", "standard input: is no Kubernetes object: it has no kind"),
        ("kind: Queue", "standard input: the Queue has no apiVersion"),
        ("kind: Queue\napiVersion: longshore.dev/v1alpha1", "standard input: the Queue has no metadata.name"),
        (
            "kind: Queue\napiVersion: longshore.dev/v2\nmetadata: {name: a}",
            "standard input: longshore.dev/v2 is not known; write longshore.dev/v1alpha1",
        ),
        ("---\n---\nkind: 3", "standard input, document 2: is no Kubernetes object"),
    ],
)
def test_input_that_cannot_be_read_is_told_with_its_place(text: str, says: str) -> None:
    result = plan(text=text)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"plan: {says}")


def test_paths_that_hold_nothing_are_told(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent.yaml"):
        result = CliRunner().invoke(main, ["plan", "-f", str(path)])
        assert result.exit_code == 2
        assert str(path) in result.stderr


@pytest.mark.parametrize("given", ["critical", "=3", "critical=many"])
def test_a_backlog_that_is_none_is_told(given: str) -> None:
    result = plan("--backlog", given)
    assert result.exit_code == 2
    assert "is not QUEUE=TASKS, like critical=2400" in result.stderr


def test_a_running_operator_imports_nothing_of_it() -> None:
    code = "import sys, longshore_operator.__main__; print([m for m in sys.modules if 'dry_run' in m or 'celpy' in m])"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "[]\n"


def _all(text: str) -> Iterator[dict[str, Any]]:
    yield from yaml.safe_load_all(text)
