{{/* What the pods of both commands share: who they are, what they may do, and what they see of Secrets. */}}

{{/* Of every container but the one that hands a hostPath over. */}}
{{- define "envmesh.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* Of a pod. Takes (list . FSGROUP): only a volume that the kubelet owns can be handed to a group. */}}
{{- define "envmesh.podSecurity" -}}
{{- $own := (index . 0).Values.securityContext -}}
runAsNonRoot: true
seccompProfile:
  type: RuntimeDefault
{{- if not (kindIs "invalid" $own.runAsUser) }}
runAsUser: {{ int $own.runAsUser }}
{{- end }}
{{- if not (kindIs "invalid" $own.runAsGroup) }}
runAsGroup: {{ int $own.runAsGroup }}
{{- if index . 1 }}
fsGroup: {{ int $own.runAsGroup }}
fsGroupChangePolicy: OnRootMismatch
{{- end }}
{{- end }}
{{- end }}

{{/* Where pods may run, and how they are pulled. Takes (list . COMPONENT). */}}
{{- define "envmesh.placement" -}}
{{- $root := index . 0 -}}
{{- $own := index $root.Values (index . 1) -}}
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
# Neither command talks to Kubernetes.
automountServiceAccountToken: false
enableServiceLinks: false
{{- with $own.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $own.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $own.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Variables. Takes (list . COMPONENT). */}}
{{- define "envmesh.env" -}}
{{- $root := index . 0 -}}
{{- $own := index $root.Values (index . 1) -}}
# The root file system is read-only.
- name: HOME
  value: /tmp
{{- range $name, $value := $own.env }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- range $own.secretEnv }}
- name: {{ .env }}
  valueFrom:
    secretKeyRef:
      name: {{ .secret }}
      key: {{ .key }}
{{- end }}
{{- with $root.Values.swarm }}
{{- if .existingSecret }}
- name: SWARM_SECRET
  valueFrom:
    secretKeyRef:
      name: {{ .existingSecret }}
      key: {{ .key }}
{{- end }}
{{- end }}
{{- end }}

{{/* Mounts of all but the data. Takes (list . COMPONENT). */}}
{{- define "envmesh.mounts" -}}
{{- $root := index . 0 -}}
- name: config
  mountPath: /etc/envmesh
  readOnly: true
- name: tmp
  mountPath: /tmp
{{- range (index $root.Values (index . 1)).files }}
- name: file-{{ .name }}
  mountPath: /etc/envmesh-files/{{ .name }}
  readOnly: true
{{- end }}
{{- if and (eq (index . 1) "agent") $root.Values.swarm.certificates }}
- name: peers
  mountPath: /etc/envmesh-peers
  readOnly: true
{{- end }}
{{- end }}

{{/* Volumes of all but the data. Takes (list . COMPONENT CONFIGMAP). */}}
{{- define "envmesh.volumes" -}}
{{- $root := index . 0 -}}
- name: config
  configMap:
    name: {{ include "envmesh.fullname" $root }}-{{ index . 2 }}
- name: tmp
  emptyDir:
    sizeLimit: 1Gi
{{- range (index $root.Values (index . 1)).files }}
- name: file-{{ .name }}
  {{- if .secret }}
  secret:
    secretName: {{ .secret }}
  {{- else }}
  configMap:
    name: {{ .configMap }}
  {{- end }}
{{- end }}
{{- if and (eq (index . 1) "agent") $root.Values.swarm.certificates }}
- name: peers
  secret:
    secretName: {{ $root.Values.swarm.certificates }}
{{- end }}
{{- end }}
