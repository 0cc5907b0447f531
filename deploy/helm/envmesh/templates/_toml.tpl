{{/*
TOML of values. Helm's own toToml is of no use here: it writes 7 as 7.0, which is no whole number any more.
A JSON string, number, boolean or list of them is valid TOML as it is; only tables are written otherwise.
YAML keeps no order of keys, but of the patterns that own names the first match counts: the longest key comes first.
*/}}

{{/* Takes (dict "table" TABLE "place" DOTTED). */}}
{{- define "envmesh.toml" -}}
{{- $place := .place -}}
{{- $keys := list -}}
{{- range $key, $_ := .table -}}
{{- $keys = append $keys (printf "%04d %s" (sub 9999 (len $key)) $key) -}}
{{- end -}}
{{- $tables := "" -}}
{{- $own := "" -}}
{{- range $sorted := sortAlpha $keys -}}
{{- $key := substr 5 -1 $sorted -}}
{{- $value := get $.table $key -}}
{{- $name := regexMatch "^[A-Za-z0-9_-]+$" $key | ternary $key (toRawJson $key) -}}
{{- $here := empty $place | ternary $name (printf "%s.%s" $place $name) -}}
{{- if kindIs "map" $value -}}
{{- $tables = print $tables (include "envmesh.toml" (dict "table" $value "place" $here)) -}}
{{- else if not (kindIs "invalid" $value) -}}
{{- $own = print $own $name " = " (toRawJson $value) "\n" -}}
{{- end -}}
{{- end -}}
{{- if and $place $own }}
[{{ $place }}]
{{ end -}}
{{ $own }}{{ $tables }}
{{- end }}

{{/* The configuration of the proxy. */}}
{{- define "envmesh.proxyToml" -}}
{{- $server := dict "listen" "0.0.0.0:8417" "data" "/var/lib/envmesh" "drain" (printf "%ds" (int .Values.proxy.drainSeconds)) -}}
{{- $own := dict "server" $server -}}
{{- if .Values.swarm.existingSecret -}}
{{- $_ := set $own "swarm" (dict "enabled" true "secret" "env:SWARM_SECRET") -}}
{{- end -}}
{{- include "envmesh.toml" (dict "place" "" "table" (merge $own (deepCopy .Values.proxy.config))) | trim -}}
{{- end }}

{{/* The configuration of the agents. */}}
{{- define "envmesh.agentToml" -}}
{{- /* The clients of a node are the pods on it: they come over the network. */ -}}
{{- $own := dict "data" "/var/lib/envmesh" "proxy" (include "envmesh.proxyUrl" .) "clients" "network" -}}
{{- if .Values.swarm.existingSecret -}}
{{- $_ := set $own "swarm-secret" "env:SWARM_SECRET" -}}
{{- end -}}
{{- if .Values.swarm.certificates -}}
{{- $_ := set $own "peers-listen" "0.0.0.0:8419" -}}
{{- range $key, $file := dict "cert" "tls.crt" "key" "tls.key" "ca" "ca.crt" -}}
{{- $_ := set $own (printf "peers-%s" $key) (printf "/etc/envmesh-peers/%s" $file) -}}
{{- end -}}
{{- end -}}
{{- with .Values.agent.zone -}}{{- $_ := set $own "zone" . -}}{{- end -}}
{{- with .Values.agent.tenant -}}{{- $_ := set $own "tenant" . -}}{{- end -}}
{{- include "envmesh.toml" (dict "place" "" "table" (merge $own (deepCopy .Values.agent.config))) | trim -}}
{{- end }}
