{{/*
Security of every pod and container here: what PodSecurity "restricted" asks for, and a root file system that can't be written.
*/}}
{{- define "letmepost.podSecurity" -}}
runAsNonRoot: true
{{- with .Values.runAsUser }}
runAsUser: {{ int64 . }}
runAsGroup: {{ int64 . }}
fsGroup: {{ int64 . }}
# Not again for every file at every start: a volume with a million media would keep the pod from starting.
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

{{/* Labels of a pod. Call with (dict "root" . "selector" "…" "own" .Values.api.podLabels). Not the version: it would restart what has not changed. */}}
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
  # Two replicas on one node are better than one replica: so this is a wish. Each revision is spread for itself, or the pods that a
  # rollout takes away would count.
  - topologyKey: kubernetes.io/hostname
    maxSkew: 1
    whenUnsatisfiable: ScheduleAnyway
    matchLabelKeys: [pod-template-hash]
    labelSelector:
      matchLabels:
        {{- .selector | nindent 8 }}
  {{- end }}
{{- end }}

{{- define "letmepost.pullSecrets" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Annotations of what lives only while `helm uninstall` ends. Call with the weight. */}}
{{- define "letmepost.hook" -}}
helm.sh/hook: post-delete
helm.sh/hook-weight: {{ . | quote }}
# What failed stays to be looked at until the next time.
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}
