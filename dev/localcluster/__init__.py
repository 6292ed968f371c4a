"""A real Kubernetes on one Linux machine, for development and tests.

Here belongs whatever brings the upstream components up, hands out access to them and takes them down again: compiling,
certificates, processes, the node's namespaces, images, and the pytest fixtures on top. Nothing of the product is
imported here, and nothing of the product imports this; it uses the standard library alone, so that it can run on a
machine where nothing is installed yet.

The pieces, from the bottom:

    paths, locks, steps, errors         where things lie, who may touch them, what is said meanwhile
    commands                            running a short program to its end
    machine                             what this machine can do, and the one-line reason when it cannot
    packages, compile                   Debian packages; the components, compiled once from a pinned Go module
    processes                           starting, remembering and stopping exactly our own processes
    certificates, kubeconfig, network   keys, credentials and addresses of one cluster
    control_plane                       etcd, kube-apiserver, kube-controller-manager
    sandbox, cgroups, node              a machine within the machine: containerd, kubelet, kube-proxy, CoreDNS
    images                              the pause, base and product images, and loading them into the node
    kind                                the same, where Docker and kind are there to do it
    cluster                             up, down and status of the one cluster of a checkout
    instances                           control planes of test sessions, swept when their owner is gone
    diagnosis                           what to look at when something went wrong
    access, fixtures                    kubectl, helm and namespaces for tests
"""
