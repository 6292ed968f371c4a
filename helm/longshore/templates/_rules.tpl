{{/*
What the operator may do in the namespaces it serves: the rules of longshore_operator.rbac, and a test compares the two.
No verb or resource is a wildcard; Secrets are only read, one by one, by the name that a Broker gives: the operator
cannot list them.
*/}}
{{- define "longshore.rules" -}}
- apiGroups: [longshore.dev]
  resources: [brokers, queues, workerpools, periodictasks]
  verbs: [list, watch]
# The finalizers of a Broker in use, and of a Queue whose deletionPolicy has something to do.
- apiGroups: [longshore.dev]
  resources: [brokers, queues]
  verbs: [patch]
- apiGroups: [longshore.dev]
  resources: [brokers/status, queues/status, workerpools/status, periodictasks/status]
  verbs: [patch]
# Owner references that block the owner's deletion, where the cluster checks them (OwnerReferencesPermissionEnforcement).
- apiGroups: [longshore.dev]
  resources: [brokers/finalizers, workerpools/finalizers]
  verbs: [update]
# The workers' and the schedulers' Deployments. Server-side apply is a patch, and a create when there is none yet.
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch, delete]
# What the drain of a node may take of a pool at once.
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
# Which workers are busy; the pod-deletion-cost annotation before a shrink.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch, patch]
# The Redis password that a Broker names.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get]
# One Event a transition; a patch counts one that repeats.
- apiGroups: [""]
  resources: [events]
  verbs: [create, patch]
{{- end -}}

{{/* The leader's Lease, in the operator's own namespace. A create cannot be limited to a name. */}}
{{- define "longshore.leaseRules" -}}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [longshore-operator]
  verbs: [get, update]
{{- end -}}
