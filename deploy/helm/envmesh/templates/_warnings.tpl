{{/* What works and may yet surprise: said after the installation, one paragraph each. */}}
{{- define "envmesh.warnings" -}}
{{- $config := .Values.proxy.config -}}
{{- $hosted := or (default dict $config.pypi).hosted (default dict $config.conda).hosted -}}
{{- if and .Values.proxy.enabled (eq .Values.proxy.storage.kind "emptyDir") }}
- proxy.storage.kind is emptyDir: the cache dies with the pod{{ if $hosted }}, and with it everything that was uploaded{{ end }}.
{{- end }}
{{- if and .Values.proxy.enabled (ne .Values.proxy.service.type "ClusterIP") (ne (toString (default dict $config.auth).read) "token") }}
- proxy.service.type is {{ .Values.proxy.service.type }}: whoever reaches it installs from your private repositories too. Ask for
  tokens with proxy.config.auth.read.
{{- end }}
{{- if and .Values.proxy.podDisruptionBudget.enabled (eq (toString .Values.proxy.podDisruptionBudget.maxUnavailable) "0") }}
- proxy.podDisruptionBudget.maxUnavailable is 0: draining the proxy's node waits until somebody deletes the pod.
{{- end }}
{{- if and .Values.agent.enabled (eq .Values.agent.cache.kind "hostPath") }}
- Agents keep their cache on the node (hostPath). Where namespaces enforce Pod Security Standards, this one needs
  kubectl label namespace {{ .Release.Namespace }} pod-security.kubernetes.io/enforce=privileged
{{- end }}
{{- if and .Values.agent.enabled .Values.proxy.enabled (not .Values.swarm.existingSecret) (not (default dict .Values.proxy.config.swarm).enabled) }}
- Agents fetch from the proxy and share nothing with one another: swarm.existingSecret lets them.
{{- end }}
{{- if and .Values.agent.enabled (eq .Values.agent.service.locality "node") }}
- agent.service.locality is node: installs fail on nodes whose agent is not ready. Give clients the proxy as well.
{{- end }}
{{- if and .Values.monitoring.rules.enabled (not (include "envmesh.monitored" .)) }}
- The cluster does not know monitoring.coreos.com/v1: there are no monitors and no alerts. The rule files are
  in the chart's files/alerts.
{{- end }}
{{- end }}
