{{/* Labels of every object. Call with the root context. */}}
{{- define "letmepost.labels" -}}
{{ include "letmepost.labelsWith" (dict "root" . "own" dict) }}
{{- end }}

{{/*
The same for an object with labels of its own, which take precedence: in YAML a key must not occur twice.
Call with (dict "root" . "own" LABELS).
*/}}
{{- define "letmepost.labelsWith" -}}
{{- $own := .own -}}
{{- with .root -}}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
{{ include "letmepost.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: letmepost
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with merge (dict) ($own | default dict) (.Values.commonLabels | default dict) }}
{{ toYaml . }}
{{- end }}
{{- end }}
{{- end }}

{{/* What all pods of the release have in common. It has no version, since a Deployment's selector can't change. */}}
{{- define "letmepost.selector" -}}
app.kubernetes.io/name: {{ include "letmepost.prefix" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{/* Call with (list . "live"): the selector of an environment's API. */}}
{{- define "letmepost.api.selector" -}}
{{ include "letmepost.selector" (index . 0) }}
app.kubernetes.io/component: api
letmepost.dev/environment: {{ index . 1 }}
{{- end }}

{{- define "letmepost.controller.selector" -}}
{{ include "letmepost.selector" . }}
app.kubernetes.io/component: controller
{{- end }}

{{- define "letmepost.gate.selector" -}}
{{ include "letmepost.selector" . }}
app.kubernetes.io/component: gate
{{- end }}

{{/* Call with (list . .Values.api.image). */}}
{{- define "letmepost.image" -}}
{{- $ := index . 0 -}}
{{- $image := index . 1 -}}
{{- with $.Values.image.registry }}{{ trimSuffix "/" . }}/{{ end }}{{ $image.repository }}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $image.tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}

{{/* Call with (list "{environment}-url" "live"): the text for that environment. */}}
{{- define "letmepost.forEnvironment" -}}
{{ index . 0 | replace "{environment}" (index . 1) }}
{{- end }}

{{/* The environments whose API runs, as JSON: {"items": ["live", "test"]}. */}}
{{- define "letmepost.environments" -}}
{{- $items := list -}}
{{- range list "live" "test" }}{{ if (index $.Values.api .).enabled }}{{ $items = append $items . }}{{ end }}{{ end -}}
{{ dict "items" $items | toJson }}
{{- end }}

{{/* The host of an environment's publicURL, without its port; "" without one. Call with (list . "live"). */}}
{{- define "letmepost.publicHost" -}}
{{ regexReplaceAll "^https?://([^:]*).*$" (index (index . 0).Values.api (index . 1)).publicURL "${1}" }}
{{- end }}

{{/* The Secret with the certificate; "" without TLS. */}}
{{- define "letmepost.tlsSecret" -}}
{{- if .Values.tls.certManager.enabled }}{{ include "letmepost.prefix" . }}-api-tls{{ else }}{{ .Values.tls.existingSecret }}{{ end }}
{{- end }}

{{/* The Secret with the vault's keyset. */}}
{{- define "letmepost.vault.secret" -}}
{{ .Values.vault.existingSecret | default (printf "%s-vault" (include "letmepost.prefix" .)) }}
{{- end }}

{{/* "true" if the chart makes that Secret. */}}
{{- define "letmepost.vault.made" -}}
{{- if and .Values.api.live.enabled .Values.vault.create (not .Values.vault.existingSecret) }}true{{ end }}
{{- end }}

{{/*
Where callers inside and outside of the cluster find an environment's API: LMP_BASE_URL of minted Secrets. A name in
the cluster ends with "svc": the resolver of every pod adds the cluster's domain, whatever that is.
*/}}
{{- define "letmepost.baseURL" -}}
{{- $ := index . 0 -}}
{{- $environment := index . 1 -}}
{{- $service := printf "%s-api-%s.%s.svc" (include "letmepost.prefix" $) $environment $.Release.Namespace -}}
{{- (index $.Values.api $environment).publicURL | default (printf "%s://%s" (ternary "https" "http" (ne (include "letmepost.tlsSecret" $) "")) $service) }}
{{- end }}
