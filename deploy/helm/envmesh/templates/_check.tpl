{{/*
Values that fit the schema and still contradict one another: the render fails with all of them, each with its place
and a hint. What the configuration means by itself is checked by `envproxy check` and at the start of the commands.
Each template below gives the problems it found as text, or nothing.
*/}}

{{- define "envmesh.check" -}}
{{- $problems := print
  (include "envmesh.check.components" .)
  (include "envmesh.check.storage" .)
  (include "envmesh.check.tokens" .)
  (include "envmesh.check.sources" .)
  (include "envmesh.check.references" (list . "proxy"))
  (include "envmesh.check.references" (list . "agent"))
  (include "envmesh.check.ports" .) | trim -}}
{{- if $problems -}}
{{- fail (printf "these values cannot be:\n%s" $problems) -}}
{{- end -}}
{{- end }}

{{/* Takes (list WHERE WHAT HINT). */}}
{{- define "envmesh.problem" -}}
{{ printf "%s: %s\n  hint: %s\n" (index . 0) (index . 1) (index . 2) }}
{{- end }}

{{- define "envmesh.check.components" -}}
{{- if not (or .Values.proxy.enabled .Values.agent.enabled) -}}
{{ include "envmesh.problem" (list "proxy.enabled" "is false, and so is agent.enabled: nothing is left" "enable one of them") }}
{{- end -}}
{{- if and .Values.agent.enabled (not .Values.proxy.enabled) (not .Values.agent.proxyUrl) -}}
{{ include "envmesh.problem" (list "agent.proxyUrl" "is empty, and this release has no proxy" "name the proxy that the agents ask, or set proxy.enabled") }}
{{- end -}}
{{- if gt (int .Values.proxy.replicas) 1 -}}
{{ include "envmesh.problem" (list "proxy.replicas" (printf "is %d, but coordination.engine is none: every replica would fetch for itself" (int .Values.proxy.replicas)) "one proxy serves many nodes, agents spread the rest") }}
{{- end -}}
{{- if and .Values.agent.gpuNodesOnly .Values.agent.affinity -}}
{{ include "envmesh.problem" (list "agent.affinity" "is set, and so is agent.gpuNodesOnly, which is an affinity itself" "keep one of them") }}
{{- end -}}
{{- if and .Values.swarm.existingSecret (default dict .Values.proxy.config.swarm).secret -}}
{{ include "envmesh.problem" (list "swarm.existingSecret" "is set, and so is proxy.config.swarm.secret" "keep one of them") }}
{{- end -}}
{{- $own := .Values.securityContext -}}
{{- $anyUser := or (kindIs "invalid" $own.runAsUser) (kindIs "invalid" $own.runAsGroup) -}}
{{- if and .Values.agent.enabled (eq .Values.agent.cache.kind "hostPath") .Values.agent.cache.takeOwnership $anyUser -}}
{{ include "envmesh.problem" (list "agent.cache.takeOwnership" "is true, but securityContext leaves user or group to the cluster: to whom?" "set both, or prepare the nodes, or use agent.cache.kind emptyDir") }}
{{- end -}}
{{- end }}

{{- define "envmesh.check.storage" -}}
{{- $limit := index .Values.agent.config "artifacts-limit" -}}
{{- if and .Values.agent.enabled (eq .Values.agent.cache.kind "emptyDir") (gt (include "envmesh.bytes" (default "0" $limit) | float64) (include "envmesh.bytes" .Values.agent.cache.sizeLimit | float64)) -}}
{{ include "envmesh.problem" (list "agent.cache.sizeLimit" (printf "is %s, which is less than artifacts-limit (%v): the kubelet would evict the agent" .Values.agent.cache.sizeLimit $limit) "raise it, or lower agent.config.artifacts-limit") }}
{{- end -}}
{{- $storage := .Values.proxy.storage -}}
{{- if and (eq $storage.kind "existingClaim") (not $storage.existingClaim) -}}
{{ include "envmesh.problem" (list "proxy.storage.existingClaim" "is empty, but proxy.storage.kind is existingClaim" "name the claim") }}
{{- end -}}
{{- if and (ne $storage.kind "existingClaim") $storage.existingClaim -}}
{{ include "envmesh.problem" (list "proxy.storage.existingClaim" (printf "is set, but proxy.storage.kind is %s" $storage.kind) "set proxy.storage.kind to existingClaim") }}
{{- end -}}
{{- if ne $storage.kind "existingClaim" -}}
{{- $store := default dict .Values.proxy.config.store -}}
{{- $limit := default "200GB" $store.limit -}}
{{- $floor := hasKey $store "min-free" | ternary (index $store "min-free") "10GB" -}}
{{- if gt (addf (include "envmesh.bytes" $limit | float64) (include "envmesh.bytes" $floor | float64)) (include "envmesh.bytes" $storage.size | float64) -}}
{{ include "envmesh.problem" (list "proxy.storage.size" (printf "is %s, which is less than store.limit (%v) and store.min-free (%v) together" $storage.size $limit $floor) "make the volume larger, or set proxy.config.store.limit") }}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Bytes of a Kubernetes quantity or of a size in the configuration: k is 1000, Ki 1024, a B at the end says nothing. */}}
{{- define "envmesh.bytes" -}}
{{- if kindIs "string" . -}}
{{- $units := dict "" 1.0 "k" 1e3 "m" 1e6 "g" 1e9 "t" 1e12 "p" 1e15 "ki" 1024.0 "mi" 1048576.0 "gi" 1073741824.0 "ti" 1099511627776.0 "pi" 1125899906842624.0 -}}
{{- $number := regexFind "^[0-9.]+" . -}}
{{ printf "%.0f" (mulf ($number | float64) (. | trimPrefix $number | trim | lower | trimSuffix "b" | get $units)) }}
{{- else -}}
{{ printf "%.0f" (float64 .) }}
{{- end -}}
{{- end }}

{{- define "envmesh.check.tokens" -}}
{{- $auth := default dict .Values.proxy.config.auth -}}
{{- if eq (toString $auth.read) "token" -}}
{{- if not $auth.tokens -}}
{{ include "envmesh.problem" (list "proxy.config.auth.read" "is token, but there are no tokens: nobody could install" "add proxy.config.auth.tokens") }}
{{- end -}}
{{- if and .Values.agent.enabled (not .Values.agent.proxyUrl) (not (index .Values.agent.config "proxy-token")) -}}
{{ include "envmesh.problem" (list "agent.config.proxy-token" "is not set, but the proxy wants a token (proxy.config.auth.read)" "write env:NAME and add NAME to agent.secretEnv") }}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "envmesh.check.sources" -}}
{{- $pypi := default dict .Values.proxy.config.pypi -}}
{{- $known := concat (list "pypi") (keys (default dict $pypi.upstreams)) (keys (default dict $pypi.hosted)) -}}
{{- range $name, $index := $pypi.indexes -}}
{{- range $source := default list $index.sources -}}
{{- if not (has $source $known) -}}
{{ include "envmesh.problem" (list (printf "proxy.config.pypi.indexes.%s.sources" $name) (printf "names %s, which is neither an upstream nor hosted" $source) (printf "there are %s" (sortAlpha $known | join ", "))) }}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* References that lead nowhere. Takes (list . COMPONENT). */}}
{{- define "envmesh.check.references" -}}
{{- $component := index . 1 -}}
{{- $own := index (index . 0).Values $component -}}
{{- $variables := list -}}
{{- range $own.secretEnv -}}{{- $variables = append $variables .env -}}{{- end -}}
{{- $folders := list -}}
{{- range $own.files -}}{{- $folders = append $folders .name -}}{{- end -}}
{{- include "envmesh.check.table" (dict "component" $component "place" (printf "%s.config" $component) "table" $own.config "variables" $variables "folders" $folders) -}}
{{- end }}

{{- define "envmesh.check.table" -}}
{{- range $key, $value := .table -}}
{{- $place := printf "%s.%s" $.place $key -}}
{{- if kindIs "map" $value -}}
{{- include "envmesh.check.table" (dict "component" $.component "place" $place "table" $value "variables" $.variables "folders" $.folders) -}}
{{- else if eq $key "ca-file" -}}
{{- include "envmesh.check.file" (dict "place" $place "path" $value "folders" $.folders "component" $.component) -}}
{{- else if not (has $key (list "secret" "password" "bearer" "token" "proxy-token" "swarm-secret")) -}}
{{- /* Refers to nothing. */ -}}
{{- else if hasPrefix "env:" $value -}}
{{- if not (has (trimPrefix "env:" $value) $.variables) -}}
{{ include "envmesh.problem" (list $place (printf "refers to %s, but the container has no such variable" $value) (printf "add it to %s.secretEnv" $.component)) }}
{{- end -}}
{{- else if hasPrefix "file:" $value -}}
{{- include "envmesh.check.file" (dict "place" $place "path" (trimPrefix "file:" $value) "folders" $.folders "component" $.component) -}}
{{- else -}}
{{- /* Not repeated: it may be a secret. */ -}}
{{ include "envmesh.problem" (list $place "must be env:NAME or file:PATH: secrets are no values" (printf "put it into a Secret and that into %s.secretEnv" $.component)) }}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "envmesh.check.file" -}}
{{- $name := regexReplaceAll "^/etc/envmesh-files/([^/]+)/.+$" .path "${1}" -}}
{{- if not (has $name .folders) -}}
{{ include "envmesh.problem" (list .place (printf "refers to %s, but the container has no such file" .path) (printf "files are /etc/envmesh-files/NAME/KEY, with NAME from %s.files" .component)) }}
{{- end -}}
{{- end }}

{{/* Upstreams that the network policy would cut off. */}}
{{- define "envmesh.check.ports" -}}
{{- if .Values.networkPolicy.enabled -}}
{{- $open := list -}}
{{- range .Values.networkPolicy.upstreamPorts -}}{{- $open = append $open (toString (int .)) -}}{{- end -}}
{{- $config := .Values.proxy.config -}}
{{- $pypi := default dict $config.pypi -}}
{{- $conda := default dict $config.conda -}}
{{- range $place, $sites := dict "pypi.upstreams" $pypi.upstreams "conda.channels" $conda.channels "files" $config.files -}}
{{- range $name, $site := $sites -}}
{{- range $url := kindIs "slice" $site.url | ternary $site.url (list $site.url) -}}
{{- if hasPrefix "http" (toString $url) -}}
{{- $parts := urlParse $url -}}
{{- $port := default (eq $parts.scheme "https" | ternary "443" "80") (regexFind "[0-9]+$" (regexFind ":[0-9]+$" $parts.host)) -}}
{{- if not (has $port $open) -}}
{{ include "envmesh.problem" (list (printf "proxy.config.%s.%s.url" $place $name) (printf "is on port %s, which networkPolicy.upstreamPorts does not open" $port) (printf "add %s to networkPolicy.upstreamPorts" $port)) }}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}
