"""The chart installed on a real API server, which has no node: nothing runs, everything is stored and authorized.

Proved: the operator's account may do what the operator does, and nothing that would hurt, in all namespaces or in those
it is given; pods are admitted under the restricted security standard; roles for people come with the chart.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pytest

from chart.rendered import CHART
from localcluster.access import Access
from localcluster.fixtures import a_control_plane

pytestmark = pytest.mark.cluster

NAMESPACE = "longshore-chart-test"
RESTRICTED = f"""
    apiVersion: v1
    kind: Namespace
    metadata: {{name: {NAMESPACE}, labels: {{pod-security.kubernetes.io/enforce: restricted}}}}
"""
ACCOUNT = f"system:serviceaccount:{NAMESPACE}:longshore"

LEASES = "leases coordination.k8s.io"
POOLS = "workerpools longshore.dev"
KINDS = ("brokers", "queues", "workerpools", "periodictasks")


@pytest.fixture(scope="module")
def installed() -> Iterator[Access]:
    """Install the chart on a control plane of this module's own, whose definitions come and go with it."""
    with a_control_plane() as access:
        access.apply(RESTRICTED)
        access.helm("install", "longshore", CHART, "--namespace", NAMESPACE)
        for kind in KINDS:
            access.kubectl("wait", "--for=condition=Established", f"crd/{kind}.longshore.dev", "--timeout=30s")
        yield access


@dataclass(frozen=True)
class Ask:
    """One request somebody might make; `what` is a resource, or resource/subresource, with its group after a blank."""

    verb: str
    what: str
    name: str = ""
    namespace: str = "shop"
    account: str = ACCOUNT


def granted(cluster: Access, asks: Sequence[Ask]) -> list[Ask]:
    """Ask the API server's authorizer, all in one call; gives what it allows."""
    reviews = []
    for ask in asks:
        path, _, group = ask.what.partition(" ")
        resource, _, subresource = path.partition("/")
        attributes = {
            "verb": ask.verb,
            "group": group,
            "resource": resource,
            "subresource": subresource,
            "name": ask.name,
            "namespace": ask.namespace,
        }
        # Service accounts are authorized as members of their groups, too.
        groups = ["system:authenticated", "system:serviceaccounts", f"system:serviceaccounts:{NAMESPACE}"]
        spec = {"user": ask.account, "groups": groups, "resourceAttributes": attributes}
        reviews.append({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec})
    answers = cluster.kubectl(
        "create",
        "--filename=-",
        '--output=jsonpath={.status.allowed}{"\\n"}',
        input="\n---\n".join(json.dumps(review) for review in reviews),
    )
    return [ask for ask, answer in zip(asks, answers.split(), strict=True) if answer == "true"]


# What the operator's client, watcher and elector do, by module: cluster/client.py, observe/, apply/, leadership.py.
NEEDED = [
    *(Ask(verb, f"{kind} longshore.dev") for kind in KINDS for verb in ("list", "watch")),
    *(Ask("patch", f"{kind}/status longshore.dev") for kind in KINDS),
    Ask("patch", "brokers longshore.dev"),
    *(Ask(verb, "deployments apps") for verb in ("get", "list", "watch", "create", "patch", "delete")),
    *(Ask(verb, "poddisruptionbudgets policy") for verb in ("get", "list", "watch", "create", "patch", "delete")),
    *(Ask(verb, "pods") for verb in ("list", "watch", "patch")),
    Ask("get", "secrets", name="redis"),
    *(Ask(verb, "events") for verb in ("create", "patch")),
    Ask("create", LEASES, namespace=NAMESPACE),
    Ask("get", LEASES, name="longshore-operator", namespace=NAMESPACE),
    Ask("update", LEASES, name="longshore-operator", namespace=NAMESPACE),
]
HARMFUL = [
    *(Ask(verb, "secrets") for verb in ("list", "watch", "create", "patch", "delete")),
    *(Ask(verb, "pods") for verb in ("create", "delete")),
    Ask("create", "pods/exec"),
    Ask("deletecollection", "deployments apps"),
    *(Ask(verb, f"{kind} longshore.dev") for kind in KINDS for verb in ("create", "update", "delete")),
    *(Ask("patch", f"{kind} longshore.dev") for kind in KINDS if kind not in ("brokers", "queues")),
    Ask("create", "rolebindings rbac.authorization.k8s.io"),
    Ask("update", LEASES, name="another", namespace=NAMESPACE),
    Ask("get", LEASES, name="longshore-operator", namespace="shop"),
    Ask("impersonate", "users"),
]


def test_the_operator_may_do_what_it_does(installed: Access) -> None:
    assert granted(installed, NEEDED) == NEEDED


def test_the_operator_may_do_nothing_that_would_hurt(installed: Access) -> None:
    assert granted(installed, HARMFUL) == []


def test_editors_of_a_namespace_may_declare_and_scale_and_viewers_only_look(installed: Access) -> None:
    with installed.namespace("people") as namespace:
        for who in ("edit", "view"):
            installed.kubectl(
                "create", "rolebinding", who, f"--clusterrole={who}", f"--user={who}or", "--namespace", namespace
            )
        # The controller that gathers aggregated roles takes a moment.
        installed.kubectl(
            "wait",
            "clusterrole/edit",
            "--timeout=30s",
            "--for=jsonpath={.rules[?(@.resources[0]=='workerpools/scale')].verbs[0]}",
        )
        create, look, scale = ("create", POOLS), ("list", POOLS), ("update", "workerpools/scale longshore.dev")
        asks = [
            Ask(verb, what, namespace=namespace, account=who)
            for who in ("editor", "viewor")
            for verb, what in (create, look, scale)
        ]
        assert granted(installed, asks) == [*asks[:3], asks[4]]


def test_pods_are_admitted_under_the_restricted_security_standard(installed: Access) -> None:
    installed.helm(
        *("upgrade", "longshore", CHART, "--namespace", NAMESPACE, "--reset-then-reuse-values"),
        *("--set", "asynqmon.enabled=true,asynqmon.url=redis://redis:6379"),
    )
    for deployment, replicas in (("longshore", 2), ("longshore-asynqmon", 1)):
        # The controller makes the pods; no node runs them.
        installed.kubectl(
            *("wait", f"deployment/{deployment}", "--namespace", NAMESPACE, "--timeout=60s"),
            f"--for=jsonpath={{.status.replicas}}={replicas}",
        )
    test = installed.helm("get", "hooks", "longshore", "--namespace", NAMESPACE)
    said = installed.kubectl("create", "--dry-run=server", "--namespace", NAMESPACE, "--filename=-", input=test)
    assert said == "pod/longshore-test created (server dry run)\n"


def test_an_operator_for_some_namespaces_may_do_there_what_it_does_and_nothing_elsewhere(installed: Access) -> None:
    served = ("shop-1", "shop-2")
    for namespace in served:
        installed.kubectl("create", "namespace", namespace)
    installed.helm(
        *("install", "tenant", CHART, "--namespace", "shop-1"),
        *("--set", "watchNamespaces={shop-1,shop-2},crds.install=false,rbac.aggregateToDefaultRoles=false"),
    )
    account = "system:serviceaccount:shop-1:tenant-longshore"
    own = [ask for ask in NEEDED if ask.what != LEASES]

    def asked_in(namespace: str) -> list[Ask]:
        return granted(installed, [replace(ask, account=account, namespace=namespace) for ask in own])

    for namespace in served:
        assert len(asked_in(namespace)) == len(own)
    assert asked_in("shop") == asked_in(NAMESPACE) == []
    assert installed.kubectl("get", "clusterroles,clusterrolebindings", "-l", "app.kubernetes.io/instance=tenant") == ""
