{{/*
"true" if the volume of a single pod holds the database or the media. Then there is one replica, and it ends before the
next one begins.
*/}}
{{- define "letmepost.singleVolume" -}}
{{- if or (not .Values.database.existingSecret) (and (not .Values.media.url) (not .Values.media.existingClaim)) }}true{{ end }}
{{- end }}

{{/* Number of replicas of an environment's API; "" leaves it to the autoscaler. Call with (list . "live"). */}}
{{- define "letmepost.api.replicas" -}}
{{- $ := index . 0 -}}
{{- $own := index $.Values.api (index . 1) -}}
{{- $name := printf "%s-api-%s" (include "letmepost.prefix" $) (index . 1) -}}
{{- $default := ternary 2 1 (ne $.Values.database.existingSecret "") -}}
{{ include "letmepost.replicas" (dict "root" $ "name" $name "value" $own.replicas "default" $default "autoscaled" $own.autoscaling.enabled) }}
{{- end }}

{{/* A quota as a flag has it. Helm reads numbers as floating point, whose text would be 1e+06. */}}
{{- define "letmepost.quota" -}}
{{ ternary . (. | int64 | toString) (kindIs "string" .) }}
{{- end }}

{{/* Arguments of an environment's API. Call with (list . "live"). */}}
{{- define "letmepost.api.args" -}}
{{- $ := index . 0 -}}
{{- $environment := index . 1 -}}
{{- $api := $.Values.api -}}
- --environment={{ $environment }}
- --namespace={{ $.Release.Namespace }}
- {{ printf "--key-prefix=%s" $.Values.keyPrefix | quote }}
- --log-level={{ $api.logLevel }}
- --access-log={{ $api.accessLog }}
- {{ printf "--lease-duration=%s" $api.leaseDuration | quote }}
- --drain-delay={{ int $api.drain.delaySeconds }}s
- --drain-timeout={{ int $api.drain.timeoutSeconds }}s
- {{ printf "--default-rate-limit=%s" $api.defaultRateLimit | quote }}
- {{ printf "--failed-auth-limit=%s" $api.failedAuthLimit | quote }}
- --max-connections={{ int $api.maxConnections }}
- {{ printf "--max-bytes-in-flight=%s" $api.maxBytesInFlight | quote }}
- {{ printf "--max-media-size=%s" $api.maxMediaSize | quote }}
{{- range $quota, $flag := dict "keys" "keys" "posts" "posts" "queuedPosts" "queued-posts" "mediaFiles" "media-files" "bytes" "bytes" "accounts" "accounts" }}
- {{ printf "--max-organization-%s=%s" $flag (include "letmepost.quota" (index $.Values.quotas $quota)) | quote }}
{{- end }}
{{- with $.Values.watchNamespaces }}
- {{ printf "--watch-namespaces=%s" (join "," .) | quote }}
{{- end }}
{{- with $api.trustedProxies }}
- {{ printf "--trusted-proxies=%s" (join "," .) | quote }}
{{- end }}
{{- if eq $environment "live" }}
{{- with $.Values.platforms.outboundAllow }}
- {{ printf "--outbound-allow=%s" (join "," .) | quote }}
{{- end }}
{{- with $.Values.platforms.returnTo }}
- {{ printf "--return-to=%s" (join "," .) | quote }}
{{- end }}
{{- with $.Values.platforms.bluesky.plcURL }}
- {{ printf "--bluesky-plc-url=%s" . | quote }}
{{- end }}
{{- with $.Values.platforms.linkedin.clientID }}
- {{ printf "--linkedin-client-id=%s" . | quote }}
{{- end }}
{{- with $.Values.platforms.linkedin.version }}
- {{ printf "--linkedin-version=%s" . | quote }}
{{- end }}
{{- end }}
{{- if eq (toString $api.docs) "false" }}
- --docs=false
{{- end }}
{{- if $api.githubSecretScanning }}
- --github-secret-scanning
{{- end }}
{{- if $.Values.dashboard.enabled }}
{{- $other := ternary "test" "live" (eq $environment "live") }}
{{- with index $api $other }}
{{- if and .enabled .publicURL }}
- {{ printf "--dashboard-other-url=%s/dashboard" .publicURL | quote }}
{{- end }}
{{- end }}
{{- with $.Values.dashboard.oidc }}
{{- if .issuerURL }}
- {{ printf "--oidc-issuer-url=%s" .issuerURL | quote }}
- {{ printf "--oidc-client-id=%s" (include "letmepost.forEnvironment" (list .clientID $environment)) | quote }}
{{- if .existingSecret }}
- --oidc-client-secret-file=/etc/letmepost/oidc/client-secret
{{- end }}
{{- if .caConfigMap }}
- --oidc-ca-file=/etc/letmepost/oidc/ca.crt
{{- end }}
{{- with .scopes }}
- {{ printf "--oidc-scopes=%s" (join "," .) | quote }}
{{- end }}
{{- with .name }}
- {{ printf "--oidc-name=%s" . | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- else }}
- --dashboard=false
{{- end }}
{{- with $api.docsBaseURL }}
- {{ printf "--docs-base-url=%s" . | quote }}
{{- end }}
{{- if $.Values.media.url }}
- {{ printf "--media-url=%s" $.Values.media.url | quote }}
{{- else if $.Values.media.existingClaim }}
- --media-url=file:///var/lib/letmepost-media/{{ $environment }}
{{- end }}
{{- if include "letmepost.tlsSecret" $ }}
- --tls-cert-file=/etc/letmepost/tls/tls.crt
- --tls-key-file=/etc/letmepost/tls/tls.key
{{- end }}
{{- if or (include "letmepost.tlsSecret" $) (index $api $environment).publicURL }}
- {{ printf "--public-url=%s" (include "letmepost.baseURL" .) | quote }}
{{- end }}
{{- if eq $environment "live" }}
- --vault-keyset=/etc/letmepost/vault/keyset.json
{{- end }}
{{- include "letmepost.traceArgs" $ }}
{{- with $api.extraArgs }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Arguments of both processes. */}}
{{- define "letmepost.traceArgs" -}}
{{- with .Values.otlp.endpoint }}
- {{ printf "--otlp-endpoint=%s" . | quote }}
- --trace-sample-ratio={{ $.Values.otlp.sampleRatio }}
{{- end }}
{{- end }}

{{/*
Environment variables of an environment's API: what must not show in the list of processes. Call with (list . "live").
*/}}
{{- define "letmepost.api.env" -}}
{{- $ := index . 0 -}}
{{- $environment := index . 1 -}}
{{- with $.Values.database.existingSecret }}
- name: LMP_DATABASE_URL
  valueFrom:
    secretKeyRef:
      name: {{ include "letmepost.forEnvironment" (list . $environment) | quote }}
      key: {{ include "letmepost.forEnvironment" (list $.Values.database.key $environment) | quote }}
{{- end }}
{{- with $.Values.redis.existingSecret }}
- name: LMP_REDIS_URL
  valueFrom:
    secretKeyRef:
      name: {{ . | quote }}
      key: {{ $.Values.redis.key | quote }}
{{- end }}
{{- if and (eq $environment "live") $.Values.platforms.linkedin.existingSecret }}
- name: LMP_LINKEDIN_CLIENT_SECRET
  valueFrom:
    secretKeyRef:
      name: {{ $.Values.platforms.linkedin.existingSecret | quote }}
      key: {{ $.Values.platforms.linkedin.key | quote }}
      # Without it the API runs, and says what is missing: nothing else must wait for LinkedIn.
      optional: true
{{- end }}
{{- with $.Values.api.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* "true" if an API has files about the OpenID provider. */}}
{{- define "letmepost.oidcFiles" -}}
{{- with .Values.dashboard }}
{{- if and .enabled .oidc.issuerURL (or .oidc.existingSecret .oidc.caConfigMap) }}true{{ end }}
{{- end }}
{{- end }}

{{/* Volumes of an environment's API. Call with (list . "live"). */}}
{{- define "letmepost.api.volumes" -}}
{{- $ := index . 0 -}}
{{- $environment := index . 1 -}}
- name: tmp # the one place that can be written, but for volumes: SQLite may want it, and uploads
  emptyDir: {}
{{- if include "letmepost.singleVolume" $ }}
- name: data
  persistentVolumeClaim:
    claimName: {{ include "letmepost.forEnvironment" (list $.Values.database.sqlite.existingClaim $environment) | default (printf "%s-api-%s" (include "letmepost.prefix" $) $environment) | quote }}
{{- end }}
{{- with $.Values.media.existingClaim }}
- name: media
  persistentVolumeClaim:
    claimName: {{ include "letmepost.forEnvironment" (list . $environment) | quote }}
{{- end }}
{{- with include "letmepost.tlsSecret" $ }}
- name: tls
  secret:
    secretName: {{ . | quote }}
    defaultMode: 0440
{{- end }}
{{- if eq $environment "live" }}
- name: vault
  secret:
    secretName: {{ include "letmepost.vault.secret" $ | quote }}
    defaultMode: 0440
    # Without it the API runs, and says what is missing: reading must not wait for a Secret.
    optional: true
{{- end }}
{{- if include "letmepost.oidcFiles" $ }}
- name: oidc
  projected:
    defaultMode: 0440
    sources:
      {{- with $.Values.dashboard.oidc }}
      {{- if .existingSecret }}
      - secret:
          name: {{ include "letmepost.forEnvironment" (list .existingSecret $environment) | quote }}
          items:
            - {key: {{ .key | quote }}, path: client-secret}
      {{- end }}
      {{- with .caConfigMap }}
      - configMap:
          name: {{ . | quote }}
          items:
            - {key: ca.crt, path: ca.crt}
      {{- end }}
      {{- end }}
{{- end }}
{{- with $.Values.api.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Call with (list . "live"). */}}
{{- define "letmepost.api.volumeMounts" -}}
{{- $environment := index . 1 -}}
{{- with index . 0 -}}
- name: tmp
  mountPath: /tmp
{{- if include "letmepost.singleVolume" . }}
- name: data
  mountPath: /var/lib/letmepost
{{- end }}
{{- if .Values.media.existingClaim }}
- name: media
  mountPath: /var/lib/letmepost-media
{{- end }}
{{- if include "letmepost.tlsSecret" . }}
- name: tls
  mountPath: /etc/letmepost/tls
  readOnly: true
{{- end }}
{{- if eq $environment "live" }}
- name: vault
  mountPath: /etc/letmepost/vault
  readOnly: true
{{- end }}
{{- if include "letmepost.oidcFiles" . }}
- name: oidc
  mountPath: /etc/letmepost/oidc
  readOnly: true
{{- end }}
{{- with .Values.api.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}
{{- end }}
