{{/* Whether the objects of the Prometheus operator are wanted: "true" or nothing. */}}
{{- define "envmesh.monitored" -}}
{{- $wanted := .Values.monitoring.enabled -}}
{{- if eq (toString $wanted) "auto" -}}
{{- $wanted = .Capabilities.APIVersions.Has "monitoring.coreos.com/v1" -}}
{{- end -}}
{{- if $wanted -}}true{{- end -}}
{{- end }}

{{/* Takes (list . COMPONENT). */}}
{{- define "envmesh.monitorLabels" -}}
{{ include "envmesh.labels" . }}
{{- with (index . 0).Values.monitoring.labels }}
{{ toYaml . }}
{{- end }}
{{- end }}
