"""What the API server itself refuses, with which words: each rule of the schemas tried with a good and a bad object.

``test_every_rule_is_tried`` compares the list with the files, so a rule without a case fails.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from kubernetes import client, config
from localcluster.access import Access

GOOD: dict[str, dict[str, Any]] = {
    "Broker": {"url": "redis://redis:6379/0"},
    "Queue": {},
    "WorkerPool": {"queues": [{"name": "mail"}], "image": "shop:1.0"},
    "PeriodicTask": {"schedule": "0 3 * * *", "task": {"type": "report"}},
}


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One field's rule: values it accepts, values it refuses, and the words that must come back."""

    kind: str
    path: str  # of the field in spec, with dots
    good: tuple[Any, ...]
    bad: tuple[Any, ...]
    says: str

    def __str__(self) -> str:
        return f"{self.kind} {self.path} {self.says[:40]}"


WINDOW = {"cron": "0 8 * * 1-5", "duration": "10h", "minReplicas": 5}
SMALL_TEMPLATE = {"spec": {"containers": [{"name": "worker", "image": "shop:1.0"}]}}

SENTINEL = {"masterName": "main", "addresses": ["s1:26379"]}
CLUSTER = {"addresses": ["n1:6379"]}


def duration(kind: str, path: str, low: str, high: str, *bad: str, example: str) -> Rule:
    return Rule(
        kind=kind,
        path=path,
        good=(low, high),
        bad=(*bad, "1 day", "60", "-5s", "1.5h", ""),
        says=f"must be a duration from {low} to {high}, written like {example}",
    )


def labels(kind: str, path: str) -> Rule:
    return Rule(
        kind=kind,
        path=path,
        good=({"team": "mail"},),
        bad=({"longshore.dev/pool": "x"}, {"app.kubernetes.io/name": "x"}, {"app.kubernetes.io/managed-by": "x"}),
        says="must not set app.kubernetes.io/name, app.kubernetes.io/managed-by or longshore.dev/…",
    )


RULES = [
    Rule(
        kind="Broker",
        path="url",
        good=(
            "redis://r",
            "rediss://r:6380/3",
            "redis://[::1]:6379",
            "redis://10.0.0.1:6379/",
            "redis://my_host.a-b:1",
            "redis://r:65535/99999",
        ),
        bad=("http://redis:6379", "redis:6379", "unix:///tmp/redis"),
        says="must start with redis:// or, for TLS, with rediss://",
    ),
    Rule(
        kind="Broker",
        path="url",
        good=("redis://redis:6379/0",),
        bad=("redis-sentinel://s1,s2/0?master=main", "rediss-cluster://n1:6379,n2:6379"),
        says="is for one server; write spec.sentinel or spec.cluster, with their addresses, instead of spec.url",
    ),
    Rule(
        kind="Broker",
        path="url",
        good=("redis://redis:6379/0",),
        bad=("redis://:secret@redis:6379/0", "redis://user:secret@redis", "rediss://user@redis"),
        says="must not hold a user or password; name the user in spec.auth.username and a Secret in",
    ),
    Rule(
        kind="Broker",
        path="url",
        good=("redis://redis:6379/0",),
        bad=("redis://redis?password=secret", "redis://redis#x", "redis-cluster://redis?a=b"),
        says="must not have a query or a fragment",
    ),
    Rule(
        kind="Broker",
        path="url",
        good=("redis://redis:6379/0",),
        bad=(
            "redis://",
            "redis://a b",
            "redis://redis:port",
            "redis://redis:65536",
            "redis://r1,r2",
            "redis://redis/0/1",
            "redis://redis:6379/zero",
        ),
        says="must be host, port and database, like redis://redis:6379/0",
    ),
    Rule(
        kind="Broker",
        path="",
        good=({"url": "redis://r"}, {"sentinel": SENTINEL}, {"cluster": CLUSTER}),
        bad=({}, {"url": "redis://r", "cluster": CLUSTER}, {"sentinel": SENTINEL, "cluster": CLUSTER}),
        says="exactly one of spec.url, spec.sentinel and spec.cluster must be given",
    ),
    Rule(
        kind="Broker",
        path="",
        good=(
            {"url": "rediss://r", "tls": {}},
            {"url": "rediss://r"},
            {"sentinel": SENTINEL, "tls": {}},
            {"cluster": CLUSTER, "tls": {"clientCertSecretRef": {"name": "c"}, "caSecretRef": {"name": "ca"}}},
        ),
        bad=({"url": "redis://r", "tls": {}},),
        says="spec.tls needs a spec.url that starts with rediss://",
    ),
    Rule(
        kind="Broker",
        path="",
        good=({"cluster": CLUSTER, "database": 0}, {"sentinel": SENTINEL, "database": 15}),
        bad=({"cluster": CLUSTER, "database": 1},),
        says="spec.database must be 0 or left out with spec.cluster: a cluster has no databases",
    ),
    Rule(
        kind="Broker",
        path="",
        good=(
            {"url": "redis://r", "database": 3},
            {"url": "redis://r/", "database": 3},
            {"url": "redis://r:1/3", "database": 3},
            {"url": "redis://r/15", "database": 15},
        ),
        bad=({"url": "redis://r:6379/2", "database": 3}, {"url": "rediss://[::1]/0", "database": 16}),
        says="spec.database and the number at the end of spec.url differ, or are more than 15; give one of them",
    ),
    Rule(
        kind="Broker",
        path="",
        good=tuple({"url": "redis://r", "database": number} for number in (0, 15, 99999)),
        bad=tuple({"url": "redis://r", "database": number} for number in (-1, 100000)),
        says="spec.database in body should be",
    ),
    Rule(
        kind="Broker",
        path="",
        good=({"sentinel": {**SENTINEL, "masterName": "my.main-1_x"}},),
        bad=({"sentinel": {**SENTINEL, "masterName": "a&b"}}, {"sentinel": {**SENTINEL, "masterName": "a b"}}),
        says="must be the name that the sentinels' configuration gives the master",
    ),
    Rule(
        kind="Broker",
        path="",
        good=(
            {"sentinel": {**SENTINEL, "addresses": ["s1:26379", "[::1]:26379", "10.0.0.1:1", "s.x_y.svc:65535"]}},
            {"sentinel": {**SENTINEL, "username": "u", "passwordSecretRef": {"name": "s", "key": "k"}}},
        ),
        bad=tuple(
            {"cluster": {"addresses": [address]}}
            for address in (
                "n1",
                "n1:",
                ":6379",
                "n1:0",
                "n1:65536",
                "redis://n1:6379",
                "a:1,b:2",
                "a b:1",
                "n1:6379/0",
            )
        ),
        says="must be host:port, like redis:6379",
    ),
    Rule(
        kind="Broker",
        path="",
        good=({"sentinel": SENTINEL},),
        bad=({"sentinel": {**SENTINEL, "addresses": ["s1"]}},),
        says="must be host:port, like sentinels:26379",
    ),
    Rule(
        kind="Broker",
        path="",
        good=({"cluster": CLUSTER},),
        bad=({"cluster": {"addresses": [":secret@n1:6379"]}}, {"sentinel": {**SENTINEL, "addresses": ["u:p@s1:1"]}}),
        says="must not hold a user or password; name the user and a Secret in the fields that are meant for them",
    ),
    Rule(
        kind="Broker",
        path="",
        good=({"cluster": {"addresses": [f"n{n}:6379" for n in range(32)]}},),
        bad=({"cluster": {"addresses": ["n:6379", "n:6379"]}},),
        says="Duplicate value",
    ),
    Rule(
        kind="Broker",
        path="",
        good=(
            {"url": "rediss://r", "tls": {"insecureSkipVerify": True, "clientCertSecretRef": {"name": "c"}}},
            {"url": "rediss://r", "tls": {"insecureSkipVerify": False, "caSecretRef": {"name": "c"}}},
        ),
        bad=({"url": "rediss://r", "tls": {"insecureSkipVerify": True, "caSecretRef": {"name": "c"}}},),
        says="caSecretRef has no effect with insecureSkipVerify, which verifies nothing; remove one of them",
    ),
    Rule(
        kind="Broker",
        path="",
        good=tuple(
            {"url": "rediss://r", "tls": {"serverName": name}} for name in ("redis.shop.svc", "10.0.0.1", "::1")
        ),
        bad=tuple(
            {"url": "rediss://r", "tls": {"serverName": name}} for name in ("https://redis", "a b", "redis:6379x")
        ),
        says="must be a host name or an address, like redis.shop.svc",
    ),
    duration("Broker", "pollInterval", "500ms", "5m", "499ms", "301s", example="1s or 1m30s"),
    duration("Broker", "timeout", "100ms", "60s", "99ms", "61s", example="2s or 500ms"),
    labels("Broker", "scheduler.template.metadata.labels"),
    Rule(
        kind="Queue",
        path="queueName",
        good=("critical", "a.b:c/d-e_F", "größer"),
        bad=("a b", "a,b", "a=b", "{a}", "a\tb"),
        says="must be a queue name without blanks, commas, equals signs and braces",
    ),
    duration("Queue", "maxLatency", "1s", "168h", "999ms", "169h", example="30s or 5m"),
    Rule(
        kind="WorkerPool",
        path="queues",
        good=([{"name": "a"}, {"name": "b", "weight": 1000}],),
        bad=([{"name": "a=b"}], [{"name": "a b"}]),
        says="must be a queue name without blanks, commas, equals signs and braces",
    ),
    Rule(
        kind="WorkerPool",
        path="queues",
        good=([{"name": "a"}, {"name": "b"}],),
        bad=([{"name": "a"}, {"name": "a", "weight": 2}],),
        says='spec.queues[1]: Duplicate value: {"name":"a"}',
    ),
    Rule(
        kind="WorkerPool",
        path="",
        good=(
            {"queues": [{"name": "a"}], "template": SMALL_TEMPLATE},
            {"queues": [{"name": "a"}], "image": "shop:1.0", "template": {"spec": {"nodeName": "x"}}},
        ),
        bad=(
            {"queues": [{"name": "a"}]},
            {"queues": [{"name": "a"}], "app": "a:b"},
            {"queues": [{"name": "a"}], "template": {}},
            {"queues": [{"name": "a"}], "template": {"spec": {"containers": [{"name": "worker"}]}}},
            {"queues": [{"name": "a"}], "template": {"spec": {"containers": [{"name": "side", "image": "x"}]}}},
        ),
        says="needs an image: give spec.image, or in spec.template an image for the container named worker",
    ),
    Rule(
        kind="WorkerPool",
        path="image",
        good=("ghcr.io/acme/shop:1.4", "shop@sha256:0123"),
        bad=("shop 1.4", " shop"),
        says="must be an image reference without blanks, like ghcr.io/acme/shop:1.4",
    ),
    Rule(
        kind="WorkerPool",
        path="app",
        good=("shop.tasks:app", "tasks:make.app", "_a:_b"),
        bad=("shop.tasks", "shop.tasks:", ":app", "shop/tasks.py:app", "a-b:c", "a:b:c"),
        says="must be module:attribute, like shop.tasks:app",
    ),
    Rule(
        kind="WorkerPool",
        path="autoscaling",
        good=({"minReplicas": 3, "maxReplicas": 3}, {"maxReplicas": 1}),
        bad=({"minReplicas": 4, "maxReplicas": 3},),
        says="minReplicas must not be greater than maxReplicas",
    ),
    *(
        Rule(
            kind="WorkerPool",
            path="autoscaling",
            good=tuple({"maxReplicas": 5, way: {"maxStep": step}} for step in (1, 10000, "1%", "50%", "100%")),
            bad=tuple({"maxReplicas": 5, way: {"maxStep": step}} for step in (0, -1, 10001, "0%", "101%", "5", "x")),
            says="must be a number of replicas from 1 to 10000, or a percentage of maxReplicas from 1% to 100%",
        )
        for way in ("scaleUp", "scaleDown")
    ),
    *(
        Rule(
            kind="WorkerPool",
            path="autoscaling",
            good=tuple({"maxReplicas": 5, way: {"stabilization": value}} for value in ("0s", "30s", "1h")),
            bad=tuple({"maxReplicas": 5, way: {"stabilization": value}} for value in ("61m", "soon", "")),
            says="must be a duration from 0s to 1h, written like 30s or 5m",
        )
        for way in ("scaleUp", "scaleDown")
    ),
    Rule(
        kind="WorkerPool",
        path="autoscaling",
        good=({"maxReplicas": 5, "zeroAfter": "0s"}, {"maxReplicas": 5, "zeroAfter": "24h"}),
        bad=({"maxReplicas": 5, "zeroAfter": "25h"}, {"maxReplicas": 5, "zeroAfter": "2 minutes"}),
        says="must be a duration from 0s to 24h, written like 2m or 90s",
    ),
    Rule(
        kind="WorkerPool",
        path="autoscaling",
        good=({"maxReplicas": 5, "targetLatency": "1s"}, {"maxReplicas": 5, "targetLatency": "24h"}),
        bad=({"maxReplicas": 5, "targetLatency": "999ms"}, {"maxReplicas": 5, "targetLatency": "25h"}),
        says="must be a duration from 1s to 24h, written like 20s or 5m",
    ),
    Rule(
        kind="WorkerPool",
        path="autoscaling",
        good=({"maxReplicas": 5, "lookahead": "0s"}, {"maxReplicas": 5, "lookahead": "1h"}),
        bad=({"maxReplicas": 5, "lookahead": "61m"}, {"maxReplicas": 5, "lookahead": "1 minute"}),
        says="must be a duration from 0s to 1h, written like 30s or 2m",
    ),
    *(
        Rule(
            kind="WorkerPool",
            path="autoscaling",
            good=tuple({"maxReplicas": 5, "schedules": [{**WINDOW, field: value}]} for value in good),
            bad=tuple({"maxReplicas": 5, "schedules": [{**WINDOW, field: value}]} for value in bad),
            says=says,
        )
        for field, good, bad, says in (
            (
                "cron",
                ("0 8 * * 1-5", "*/10 8-17 ? * MON-FRI", "@daily"),
                ("0 8 * *", "@every 1h", "TZ=UTC 0 8 * * *", "at eight"),
                "must be five fields like",
            ),
            (
                "timeZone",
                ("Europe/Berlin", "Etc/UTC"),
                ("Europe Berlin", "Local", "+02:00"),
                "must be an IANA time zone, like Europe/Berlin or Etc/UTC",
            ),
            (
                "duration",
                ("1m", "168h"),
                ("59s", "169h", "10", "all day"),
                "must be a duration from 1m to 168h, written like 10h or 90m",
            ),
            ("minReplicas", (1, 5), (6,), "minReplicas of a schedule must not be greater than maxReplicas"),
            ("minReplicas", (1,), (0,), "greater than or equal to 1"),
        )
    ),
    Rule(
        kind="WorkerPool",
        path="autoscaling",
        good=({"maxReplicas": 5, "schedules": [WINDOW] * 32},),
        bad=({"maxReplicas": 5, "schedules": [WINDOW] * 33},),
        says="must have at most 32 items",
    ),
    Rule(
        kind="WorkerPool",
        path="autoscaling",
        good=(
            {"maxReplicas": 5, "fallback": {}},
            {"maxReplicas": 5, "fallback": {"behavior": "Hold", "afterFailures": 1000}},
            {"maxReplicas": 5, "fallback": {"behavior": "Static", "replicas": 0}},
            {"maxReplicas": 5, "fallback": {"behavior": "CurrentIfHigher", "replicas": 5}},
        ),
        bad=(
            {"maxReplicas": 5, "fallback": {"behavior": "Static"}},
            {"maxReplicas": 5, "fallback": {"behavior": "CurrentIfHigher", "afterFailures": 5}},
        ),
        says="replicas must be given for the behaviors Static and CurrentIfHigher",
    ),
    Rule(
        kind="WorkerPool",
        path="autoscaling",
        good=({"maxReplicas": 5, "fallback": {"behavior": "Static", "replicas": 5}},),
        bad=({"maxReplicas": 5, "fallback": {"behavior": "Static", "replicas": 6}},),
        says="fallback.replicas must not be greater than maxReplicas",
    ),
    Rule(
        kind="WorkerPool",
        path="autoscaling",
        good=({"maxReplicas": 5, "fallback": {"behavior": "Hold"}},),
        bad=({"maxReplicas": 5, "fallback": {"behavior": "Zero"}},),
        says='supported values: "Hold"',
    ),
    Rule(
        kind="WorkerPool",
        path="rollout",
        good=({}, {"maxUnavailable": 1, "maxSurge": 0}, {"maxUnavailable": "0%", "maxSurge": "1%"}),
        bad=(
            {"maxSurge": 0},
            {"maxSurge": "0%"},
            {"maxUnavailable": "0%", "maxSurge": 0},
            {"maxUnavailable": 0, "maxSurge": "0%"},
        ),
        says="must not have both maxUnavailable and maxSurge at 0",
    ),
    *(
        Rule(
            kind="WorkerPool",
            path="rollout",
            good=tuple({"maxUnavailable": 1, "maxSurge": 1, way: step} for step in (0, 10000, "0%", "33%", "100%")),
            bad=tuple({way: step} for step in (-1, 10001, "101%", "5", "05%", "x")),
            says="must be a number of workers from 0 to 10000, or a percentage from 0% to 100%",
        )
        for way in ("maxUnavailable", "maxSurge")
    ),
    Rule(
        kind="WorkerPool",
        path="disruption",
        good=({}, *({"maxUnavailable": step} for step in (1, 10000, "1%", "100%"))),
        bad=tuple({"maxUnavailable": step} for step in (0, -1, 10001, "0%", "101%", "5", "x")),
        says="must be a number of workers from 1 to 10000, or a percentage from 1% to 100%; with 0 no node could",
    ),
    labels("WorkerPool", "template.metadata.labels"),
    Rule(
        kind="WorkerPool",
        path="template.spec",
        good=({"hostNetwork": False, "setHostnameAsFQDN": False, "nodeName": "x"},),
        bad=({"hostname": "x"}, {"hostNetwork": True}, {"setHostnameAsFQDN": True}),
        says="must not set hostname, hostNetwork or setHostnameAsFQDN",
    ),
    Rule(
        kind="PeriodicTask",
        path="schedule",
        good=(
            "*/5 * * * *",
            "0 3 ? * MON-FRI",
            "0 0 1,15 JAN,JUL *",
            "@hourly",
            "@every 30s",
            "@every 1h30m",
            "TZ=Europe/Berlin 0 3 * * *",
            "CRON_TZ=Asia/Tokyo @daily",
        ),
        bad=("* * * *", "* * * * * *", "@fortnightly", "@every", "@every soon", "every day", "0 3 * * * root; true"),
        says="must be five fields like",
    ),
    Rule(
        kind="PeriodicTask",
        path="timeZone",
        good=("Europe/Berlin", "Etc/UTC", "UTC", "America/Argentina/Buenos_Aires", "Etc/GMT+3"),
        bad=("Europe Berlin", "/etc/localtime", "../x", "Local", "+02:00"),
        says="must be an IANA time zone, like Europe/Berlin or Etc/UTC",
    ),
    Rule(
        kind="PeriodicTask",
        path="",
        good=(
            {"schedule": "0 3 * * *", "timeZone": "UTC", "task": {"type": "a"}},
            {"schedule": "TZ=UTC 0 3 * * *", "task": {"type": "a"}},
        ),
        bad=(
            {"schedule": "TZ=UTC 0 3 * * *", "timeZone": "UTC", "task": {"type": "a"}},
            {"schedule": "CRON_TZ=UTC 0 3 * * *", "timeZone": "UTC", "task": {"type": "a"}},
        ),
        says="give the time zone once, in timeZone or as the schedule's prefix",
    ),
    Rule(kind="PeriodicTask", path="task.type", good=("report:daily",), bad=("   ",), says="must not be blank"),
    Rule(
        kind="PeriodicTask",
        path="task",
        good=(
            {"type": "a", "payload": {"any": ["json", 1, None]}},
            {"type": "a", "payloadBase64": "eyJhIjoxfQ=="},
            {"type": "a"},
        ),
        bad=(
            {"type": "a", "payload": {}, "payloadBase64": ""},
            {"type": "a", "payload": {"a": 1}, "payloadBase64": "YQ=="},
        ),
        says="give payload or payloadBase64, not both",
    ),
    Rule(
        kind="PeriodicTask",
        path="task.payloadBase64",
        good=("", "YQ==", "YWI=", "YWJj", "A" * 21848),
        bad=("YQ", "YQ=", "Y Q=", "YQ==\n", "_-=="),
        says="must be standard base64, with padding and without line breaks",
    ),
    Rule(
        kind="PeriodicTask",
        path="task.payloadBase64",
        good=("A" * 21848,),
        bad=("A" * 21852,),
        says="Too long: may not be more than 21848 bytes",
    ),
    Rule(
        kind="PeriodicTask",
        path="task.queue",
        good=("office",),
        bad=("a b", "a,b"),
        says="must be a queue name without blanks, commas, equals signs and braces",
    ),
    duration("PeriodicTask", "task.timeout", "1s", "720h", "500ms", "721h", example="10m or 1h30m"),
    duration("PeriodicTask", "task.retention", "1s", "8760h", "500ms", "8761h", example="24h"),
    duration("PeriodicTask", "task.uniqueFor", "1s", "8760h", "500ms", "8761h", example="1h"),
    duration("PeriodicTask", "startingDeadline", "1s", "168h", "500ms", "169h", example="60s or 1h"),
    duration("Queue", "archive.maxAge", "1m", "87600h", "59s", "87601h", example="72h"),
    Rule(kind="Queue", path="archive.maxTasks", good=(1, 1_000_000), bad=(0,), says="greater than or equal to 1"),
    Rule(kind="Queue", path="archive.maxTasks", good=(2,), bad=(1_000_001,), says="less than or equal to 1000000"),
    Rule(
        kind="Queue",
        path="deletionPolicy",
        good=("Retain", "DeleteIfEmpty", "Delete"),
        bad=("Orphan", ""),
        says="Unsupported value",
    ),
    duration("PeriodicTask", "jitter", "0s", "1h", "500ms", "61m", example="30s or 5m"),
    Rule(kind="PeriodicTask", path="overlap", good=("Allow", "Forbid"), bad=("Replace", ""), says="Unsupported value"),
    # Bounds that are no rules of their own.
    Rule(kind="WorkerPool", path="queues", good=([{"name": "a"}],), bad=([],), says="should have at least 1 items"),
    Rule(
        kind="WorkerPool",
        path="queues",
        good=([{"name": f"q{n}"} for n in range(32)],),
        bad=([{"name": f"q{n}"} for n in range(33)],),
        says="Too many: 33: must have at most 32 items",
    ),
    Rule(kind="WorkerPool", path="concurrency", good=(1, 10000), bad=(0,), says="greater than or equal to 1"),
    Rule(kind="WorkerPool", path="replicas", good=(0, 10000), bad=(-1,), says="greater than or equal to 0"),
    Rule(kind="WorkerPool", path="drainSeconds", good=(1, 86400), bad=(86401,), says="less than or equal to 86400"),
    Rule(kind="WorkerPool", path="brokerRef", good=("default",), bad=("De fault",), says="should match"),
    Rule(
        kind="PeriodicTask",
        path="catchUp",
        good=("None", "Latest", "All"),
        bad=("Some",),
        says='supported values: "None"',
    ),
    Rule(kind="Broker", path="scheduler.replicas", good=(0, 5), bad=(6,), says="less than or equal to 5"),
    Rule(
        kind="Broker",
        path="scheduler.resources",
        good=({"requests": {"cpu": "100m", "memory": 134217728}, "limits": {"memory": "1.5Gi"}},),
        bad=({"requests": {"cpu": "much"}},),
        says="should match",
    ),
]


def manifest(kind: str, spec: dict[str, Any], name: str = "tried") -> dict[str, Any]:
    return {"apiVersion": "longshore.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def with_value(kind: str, path: str, value: Any) -> dict[str, Any]:
    if not path:
        return dict(value)
    spec = copy.deepcopy(GOOD[kind])
    at = spec
    *above, last = path.split(".")
    for part in above:
        at = at.setdefault(part, {})
    at[last] = value
    return spec


@pytest.fixture(scope="module")
def objects(installed_definitions: Access) -> Iterator[client.CustomObjectsApi]:
    with config.new_client_from_config(str(installed_definitions.kubeconfig)) as connection:
        yield client.CustomObjectsApi(connection)


def refusal(objects: client.CustomObjectsApi, body: dict[str, Any]) -> str:
    """What the API server says to the object; empty when it accepts it. Nothing is stored."""
    plural = {"Broker": "brokers", "Queue": "queues", "WorkerPool": "workerpools", "PeriodicTask": "periodictasks"}
    try:
        objects.create_namespaced_custom_object(
            "longshore.dev", "v1alpha1", "default", plural[body["kind"]], body, dry_run="All", field_validation="Strict"
        )
    except client.ApiException as error:
        return str(json.loads(error.body or "{}")["message"])
    return ""


@pytest.mark.cluster
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_the_api_server_accepts_good_values_and_refuses_bad_ones_in_words_that_help(
    objects: client.CustomObjectsApi, rule: Rule
) -> None:
    for value in rule.good:
        assert refusal(objects, manifest(rule.kind, with_value(rule.kind, rule.path, value))) == ""
    for value in rule.bad:
        said = refusal(objects, manifest(rule.kind, with_value(rule.kind, rule.path, value)))
        assert rule.says in said, f"{value!r}: {said}"


@pytest.mark.cluster
@pytest.mark.parametrize("kind", GOOD)
def test_a_name_longer_than_47_characters_is_refused_because_children_add_a_suffix(
    objects: client.CustomObjectsApi, kind: str
) -> None:
    assert refusal(objects, manifest(kind, GOOD[kind], "n" * 47)) == ""
    said = refusal(objects, manifest(kind, GOOD[kind], "n" * 48))
    assert "metadata.name: must be at most 47 characters long" in said


@pytest.mark.cluster
def test_an_unknown_field_is_refused_by_name(objects: client.CustomObjectsApi) -> None:
    said = refusal(objects, manifest("WorkerPool", {**GOOD["WorkerPool"], "concurency": 3}))
    assert 'unknown field "spec.concurency"' in said


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        pytest.param({}, {"brokerRef": "other"}, "brokerRef cannot be changed; make another Queue", id="brokerRef"),
        pytest.param(
            {"queueName": "a"}, {"queueName": "b"}, "queueName cannot be changed; make another Queue", id="queueName"
        ),
        pytest.param(
            {}, {"queueName": "b"}, "queueName cannot be changed; make another Queue", id="queueName given later"
        ),
        pytest.param({"queueName": "a"}, {}, "queueName cannot be changed; make another Queue", id="queueName removed"),
        pytest.param({"queueName": "a"}, {"queueName": "a", "paused": True}, "", id="everything else can be changed"),
    ],
)
def test_what_a_queue_stands_for_cannot_be_changed(
    installed_definitions: Access,
    objects: client.CustomObjectsApi,
    before: dict[str, Any],
    after: dict[str, Any],
    says: str,
) -> None:
    with installed_definitions.namespace("rules") as name:
        place = ("longshore.dev", "v1alpha1", name, "queues")
        stored = objects.create_namespaced_custom_object(*place, manifest("Queue", before))
        said = ""
        try:
            objects.replace_namespaced_custom_object(*place, "tried", {**stored, "spec": after})
        except client.ApiException as error:
            said = str(json.loads(error.body or "{}")["message"])
    assert says in said
    assert bool(says) == bool(said)


def test_every_rule_is_tried(definitions: dict[str, dict[str, Any]]) -> None:
    apart = {
        "metadata.name: must be at most 47 characters long, because the names of what is made for it add a suffix",
        "brokerRef cannot be changed; make another Queue",
        "queueName cannot be changed; make another Queue",
    }
    for kind, definition in definitions.items():
        schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        for path, text in _messages(schema):
            tried = [rule for rule in RULES if rule.kind == kind and text.startswith(rule.says)]
            assert tried or text in apart, f"{kind} {path}: {text}"


def _messages(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    for rule in schema.get("x-kubernetes-validations", []):
        yield path, rule["message"]
    for name, each in schema.get("properties", {}).items():
        yield from _messages(each, f"{path}.{name}")
    for inner in ("items", "additionalProperties"):
        if isinstance(schema.get(inner), dict):
            yield from _messages(schema[inner], f"{path}[]")
