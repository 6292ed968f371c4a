"""The local node: that a pod finds there what it would find on any cluster.

Proves: pods under the restricted profile run, log, take commands, resolve Services by name, reach the API server, and
hear SIGTERM when they are deleted; this machine reaches pods and Services, and its kernel's settings are out of reach.
Leaves out: what happens when things are killed (see test_node_crash.py).
"""

from __future__ import annotations

import subprocess
import urllib.request
from collections.abc import Iterator

import pytest

from localcluster import kind, sandbox
from localcluster.cluster import NodeAccess
from localcluster.commands import run
from localcluster.paths import binaries
from localcluster.processes import ProcessFolder

pytestmark = pytest.mark.node

SERVER = """
import http.server, os, signal, socket, sys
def leave(*_):
    print("SIGTERM seen", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
print("uid", os.getuid(), flush=True)
class Name(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(socket.gethostname().encode())
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("", 8000), Name).serve_forever()
"""

MANIFESTS = f"""
apiVersion: v1
kind: ConfigMap
metadata: {{name: server}}
data:
  server.py: |
{"".join(f"    {line}" + chr(10) for line in SERVER.strip().splitlines())}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      securityContext: {{runAsNonRoot: true, runAsUser: 65532, seccompProfile: {{type: RuntimeDefault}}}}
      volumes: [{{name: server, configMap: {{name: server}}}}]
      containers:
        - name: web
          image: longshore:dev
          imagePullPolicy: IfNotPresent
          command: [python3, /srv/server.py]
          volumeMounts: [{{name: server, mountPath: /srv}}]
          readinessProbe: {{httpGet: {{path: /, port: 8000}}, periodSeconds: 1}}
          resources: {{requests: {{cpu: 10m, memory: 32Mi}}, limits: {{memory: 128Mi}}}}
          securityContext:
            readOnlyRootFilesystem: true
            allowPrivilegeEscalation: false
            capabilities: {{drop: [ALL]}}
---
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec: {{selector: {{app: web}}, ports: [{{port: 80, targetPort: 8000}}]}}
"""


# A Service's name and rules follow its pods' readiness by a second or so, as on any cluster. Until then its name is not
# found, or its address leads nowhere or refuses.
ASK_UNTIL_ALL_ANSWERED = """
import sys, time, urllib.error, urllib.request
url, *names = sys.argv[1:]
answered, deadline = set(), time.monotonic() + 60
while answered != set(names):
    try:
        answered.add(urllib.request.urlopen(url, timeout=20).read().decode())
    except urllib.error.URLError as error:
        if time.monotonic() > deadline:
            sys.exit(f"{url} does not answer: {error.reason!r}")
        time.sleep(0.2)
    if time.monotonic() > deadline:
        sys.exit(f"{url} was answered by {sorted(answered)} alone")
print(*sorted(answered))
"""


@pytest.fixture(scope="module")
def namespace(node_cluster: NodeAccess) -> Iterator[str]:
    """A namespace that admits restricted pods only, with two of them behind a Service."""
    with node_cluster.namespace(labels={"pod-security.kubernetes.io/enforce": "restricted"}) as name:
        node_cluster.apply(MANIFESTS, namespace=name)
        node_cluster.kubectl("rollout", "status", "deployment/web", "--namespace", name, "--timeout=120s")
        assert ask_until_all_answered(node_cluster, name, "http://web/") == sorted(pods(node_cluster, name))
        yield name


def pods(node_cluster: NodeAccess, namespace: str) -> list[str]:
    form = "jsonpath={.items[*].metadata.name}"
    return node_cluster.kubectl("get", "pods", "-n", namespace, "-l", "app=web", "-o", form).split()


def ask_until_all_answered(node_cluster: NodeAccess, namespace: str, url: str) -> list[str]:
    """Ask from within one of the pods, which is itself one of those that answer."""
    names = pods(node_cluster, namespace)
    ask = ["exec", "-n", namespace, names[0], "--", "python3", "-c", ASK_UNTIL_ALL_ANSWERED, url, *names]
    return node_cluster.kubectl(*ask).split()


def test_a_restricted_pod_runs_as_the_images_user_and_logs(node_cluster: NodeAccess, namespace: str) -> None:
    pod = pods(node_cluster, namespace)[0]
    assert node_cluster.kubectl("logs", "-n", namespace, pod) == "uid 65532\n"


def test_a_pods_host_name_is_its_name(node_cluster: NodeAccess, namespace: str) -> None:
    pod = pods(node_cluster, namespace)[0]
    assert node_cluster.kubectl("exec", "-n", namespace, pod, "--", "hostname").strip() == pod


@pytest.mark.parametrize("name", ["web", "web.{namespace}", "web.{namespace}.svc.cluster.local"])
def test_a_pod_resolves_a_service_by_name(node_cluster: NodeAccess, namespace: str, name: str) -> None:
    url = f"http://{name.format(namespace=namespace)}/"
    assert ask_until_all_answered(node_cluster, namespace, url) == sorted(pods(node_cluster, namespace))


def test_a_pod_reaches_the_api_server_with_its_service_account(node_cluster: NodeAccess, namespace: str) -> None:
    ask = """
import json, ssl, urllib.request
account = "/var/run/secrets/kubernetes.io/serviceaccount/"
request = urllib.request.Request("https://kubernetes.default.svc/apis/authentication.k8s.io/v1/selfsubjectreviews",
    data=json.dumps({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}).encode(),
    headers={"Authorization": "Bearer " + open(account + "token").read(), "Content-Type": "application/json"})
trust = ssl.create_default_context(cafile=account + "ca.crt")
print(json.load(urllib.request.urlopen(request, timeout=20, context=trust))["status"]["userInfo"]["username"])
"""
    pod = pods(node_cluster, namespace)[0]
    answer = node_cluster.kubectl("exec", "-n", namespace, pod, "--", "python3", "-c", ask)
    assert answer.strip() == f"system:serviceaccount:{namespace}:default"


@pytest.mark.skipif(kind.usable(), reason="kind routes no pod addresses to this machine")
def test_this_machine_reaches_pods_and_services(node_cluster: NodeAccess, namespace: str) -> None:
    names = pods(node_cluster, namespace)
    service = node_cluster.kubectl("get", "service", "web", "-n", namespace, "-o", "jsonpath={.spec.clusterIP}")
    pod = node_cluster.kubectl("get", "pod", names[0], "-n", namespace, "-o", "jsonpath={.status.podIP}")
    with urllib.request.urlopen(f"http://{service}/", timeout=20) as response:
        assert response.read().decode() in names
    with urllib.request.urlopen(f"http://{pod}:8000/", timeout=20) as response:
        assert response.read().decode() == names[0]


@pytest.mark.skipif(kind.usable(), reason="with kind the machine is Docker's to protect")
def test_the_kubelet_cannot_reach_the_settings_of_this_machines_kernel(node_cluster: NodeAccess) -> None:
    (inside,) = [each for each in ProcessFolder(node_cluster.folder).all() if each.name == "sandbox-init"]
    for setting in sandbox.TUNABLES:
        kept_by = run(
            ["nsenter", "--mount", f"--target={inside.pid}", "stat", "-f", "-c", "%T", f"/proc/sys/{setting}"]
        )
        assert kept_by.strip() != "proc", setting


def test_a_deleted_pod_hears_sigterm_and_is_replaced(node_cluster: NodeAccess, namespace: str) -> None:
    pod = pods(node_cluster, namespace)[0]
    follow = [binaries() / "kubectl", f"--kubeconfig={node_cluster.kubeconfig}", "logs", "-f", "-n", namespace, pod]
    with subprocess.Popen(follow, stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        assert following.stdout.readline() == "uid 65532\n"
        node_cluster.kubectl("delete", "pod", pod, "-n", namespace)
        assert following.stdout.read() == "SIGTERM seen\n"
    node_cluster.kubectl("rollout", "status", "deployment/web", "-n", namespace, "--timeout=120s")
    assert pod not in pods(node_cluster, namespace)


def test_the_node_keeps_no_pods_of_a_deleted_deployment(node_cluster: NodeAccess, namespace: str) -> None:
    node_cluster.kubectl("delete", "deployment", "web", "-n", namespace)
    node_cluster.kubectl("wait", "--for=delete", "pod", "-l", "app=web", "-n", namespace, "--timeout=120s")
    assert pods(node_cluster, namespace) == []
