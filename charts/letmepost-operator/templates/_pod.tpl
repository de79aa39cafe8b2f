{{/*
Security of every pod and container here: what PodSecurity "restricted" asks for, and a read-only root file system.
*/}}
{{- define "letmepost.podSecurity" -}}
runAsNonRoot: true
{{- with .Values.runAsUser }}
runAsUser: {{ int64 . }}
runAsGroup: {{ int64 . }}
fsGroup: {{ int64 . }}
# Only if the root differs. To check every file at every start would keep a pod with a million media files from
# starting.
fsGroupChangePolicy: OnRootMismatch
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "letmepost.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/*
Labels of a pod. The version is not among them: it would restart pods that have not changed.
Call with (dict "root" . "selector" "…" "own" .Values.api.podLabels).
*/}}
{{- define "letmepost.podMeta" -}}
labels:
  {{- .selector | nindent 2 }}
  {{- with merge (dict) (.own | default dict) (.root.Values.commonLabels | default dict) }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Where a pod runs. Call with (dict "root" . "at" .Values.api "selector" "…"). */}}
{{- define "letmepost.scheduling" -}}
{{- with .at.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .at.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .at.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .at.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
topologySpreadConstraints:
  {{- if .at.topologySpreadConstraints }}
  {{- toYaml .at.topologySpreadConstraints | nindent 2 }}
  {{- else }}
  # A wish, not a condition, since two replicas on one node are better than one replica. Each revision is spread
  # on its own, or the pods that a rollout is about to remove would count.
  - topologyKey: kubernetes.io/hostname
    maxSkew: 1
    whenUnsatisfiable: ScheduleAnyway
    matchLabelKeys: [pod-template-hash]
    labelSelector:
      matchLabels:
        {{- .selector | nindent 8 }}
  {{- end }}
{{- end }}

{{/*
Number of replicas of a Deployment; "" leaves it to the autoscaler. A value that is set decides. Otherwise what `kubectl
scale` or an autoscaler has made of it stays: an upgrade must not start what somebody has stopped, nor end in a conflict
over the number. Who owns the number stands in managedFields, but for 0, which nobody owns. `helm template` sees no
Deployment; there it is the default.
Call with (dict "root" $ "name" NAME "value" VALUE "default" 2 "autoscaled" false).
*/}}
{{- define "letmepost.replicas" -}}
{{- $there := lookup "apps/v1" "Deployment" .root.Release.Namespace .name -}}
{{- $now := dig "spec" "replicas" 0 $there | int -}}
{{- $ours := false -}}
{{- $scaled := eq $now 0 -}}
{{- range dig "metadata" "managedFields" list $there -}}
{{- if hasKey (dig "fieldsV1" "f:spec" dict .) "f:replicas" -}}
{{- if eq (.subresource | default "") "scale" }}{{ $scaled = true }}{{ else }}{{ $ours = true }}{{ end -}}
{{- end -}}
{{- end -}}
{{- if .autoscaled -}}
{{- /* If what was ours were left out, the apiserver would make it 1, and the autoscaler its minimum. */ -}}
{{- if and $there $ours }}{{ $now }}{{ end -}}
{{- else if not (kindIs "invalid" .value) }}{{ int .value }}
{{- else if and $there $scaled }}{{ $now }}
{{- else }}{{ .default }}{{ end -}}
{{- end }}

{{- define "letmepost.pullSecrets" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Annotations of what exists only before the first pod of an install or an upgrade. Call with the weight. */}}
{{- define "letmepost.vault.hook" -}}
helm.sh/hook: pre-install,pre-upgrade
helm.sh/hook-weight: {{ . | quote }}
# What failed stays until the next time, so that somebody can look at it.
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}

{{/* Annotations of what exists only at the end of `helm uninstall`. Call with the weight. */}}
{{- define "letmepost.hook" -}}
helm.sh/hook: post-delete
helm.sh/hook-weight: {{ . | quote }}
# What failed stays until the next time, so that somebody can look at it.
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}
