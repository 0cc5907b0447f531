{{/* Names and labels: every object is RELEASE-envmesh-COMPONENT, and every selector is made here. */}}

{{- define "envmesh.name" -}}
{{ default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* At most 40 characters, so that the longest name with its suffix stays within the 63 of a label. */}}
{{- define "envmesh.fullname" -}}
{{- $name := include "envmesh.name" . -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains $name .Release.Name -}}
{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" }}
{{- end -}}
{{- end }}

{{/* Takes (list . COMPONENT). */}}
{{- define "envmesh.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ include "envmesh.name" $root }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* Takes (list . COMPONENT). */}}
{{- define "envmesh.labels" -}}
{{- $root := index . 0 -}}
{{ include "envmesh.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Takes (list . COMPONENT); the values of a component are under its name. */}}
{{- define "envmesh.serviceAccount" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
{{- $account := (index $root.Values $component).serviceAccount -}}
{{- if $account.create -}}
{{ default (printf "%s-%s" (include "envmesh.fullname" $root) $component) $account.name }}
{{- else -}}
{{ default "default" $account.name }}
{{- end -}}
{{- end }}

{{- define "envmesh.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end }}

{{/* The origin of the proxy as pods of this cluster reach it. */}}
{{- define "envmesh.proxyUrl" -}}
{{- if .Values.agent.proxyUrl -}}
{{ .Values.agent.proxyUrl | trimSuffix "/" }}
{{- else -}}
http://{{ include "envmesh.fullname" . }}-proxy.{{ .Release.Namespace }}:{{ .Values.proxy.service.port }}
{{- end -}}
{{- end }}

{{- define "envmesh.agentUrl" -}}
http://{{ include "envmesh.fullname" . }}-agent.{{ .Release.Namespace }}:{{ .Values.agent.service.port }}
{{- end }}
