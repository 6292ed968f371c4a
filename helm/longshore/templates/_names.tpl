{{- define "longshore.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 53 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 53 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Cluster-scoped names carry the namespace, so that two releases in two namespaces do not meet. */}}
{{- define "longshore.clusterName" -}}
{{- printf "%s-%s" (include "longshore.name" .) .Release.Namespace -}}
{{- end -}}

{{/* The Service of /metrics, and so the label `job` of all that is scraped there. */}}
{{- define "longshore.metricsName" -}}
{{- printf "%s-metrics" (include "longshore.name" .) -}}
{{- end -}}

{{- define "longshore.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "longshore.name" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name: must name an existing ServiceAccount when serviceAccount.create is false" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "longshore.image" -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}

{{- define "longshore.selectorLabels" -}}
app.kubernetes.io/name: longshore-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "longshore.commonLabels" -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
{{- end -}}

{{- define "longshore.labels" -}}
{{ include "longshore.selectorLabels" . }}
{{ include "longshore.commonLabels" . }}
{{- end -}}

{{- define "longshore.asynqmonSelectorLabels" -}}
app.kubernetes.io/name: asynqmon
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "longshore.asynqmonLabels" -}}
{{ include "longshore.asynqmonSelectorLabels" . }}
{{ include "longshore.commonLabels" . }}
{{- end -}}
