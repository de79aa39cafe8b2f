{{/*
What rbac*.yaml, people*.yaml and policies*.yaml have in common. Cluster-wide names have the same prefix as all others.
So of two installs with the same nameOverride, Helm refuses the second, since the objects belong to the first.
*/}}
{{- define "letmepost.prefix" -}}
{{ .Values.nameOverride | default "letmepost" }}
{{- end }}

{{/* The user behind a ServiceAccount, to the apiserver. Call with (list . "api"). */}}
{{- define "letmepost.username" -}}
{{- $root := index . 0 -}}
system:serviceaccount:{{ $root.Release.Namespace }}:{{ include "letmepost.prefix" $root }}-{{ index . 1 }}
{{- end }}

{{/*
The accounts of the API's processes, as JSON: {"items": ["api-live", "api-test", "api"]}. Each environment has its own,
so that nobody who has taken over a test API can confirm live revocations. The last one is that of all API pods before
0.2.0: without it, the old pods of an upgrade could not renew their Leases. It goes with the next minor version.
*/}}
{{- define "letmepost.api.accounts" -}}
{{- $items := list -}}
{{- range (include "letmepost.environments" . | fromJson).items }}{{ $items = append $items (printf "api-%s" .) }}{{ end -}}
{{ dict "items" (append $items "api") | toJson }}
{{- end }}

{{/*
A binding: (dict "root" . "kind" "Role" "name" ... "accounts" (list "controller")), with "namespace" for a RoleBinding.
The role has the binding's name.
*/}}
{{- define "letmepost.binding" -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ .kind }}Binding
metadata:
  name: {{ .name }}
  {{- with .namespace }}
  namespace: {{ . | quote }}
  {{- end }}
  labels:
    {{- include "letmepost.labels" .root | nindent 4 }}
  {{- with .annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ .kind }}
  name: {{ .name }}
subjects:
{{- range .accounts }}
  - kind: ServiceAccount
    name: {{ include "letmepost.prefix" $.root }}-{{ . }}
    namespace: {{ $.root.Release.Namespace | quote }}
{{- end }}
{{- end }}

{{/*
A program's rules about organizations: those of the template "letmepost.rules.PROGRAM", in all namespaces, or only in
those of watchNamespaces. In the latter case the roles are called ...-watched, because the release's namespace may be
one of them, and has a role of the short name already. Call with (list . "api" ACCOUNTS).
*/}}
{{- define "letmepost.watching" -}}
{{- $root := index . 0 -}}
{{- $program := index . 1 -}}
{{- $accounts := index . 2 -}}
{{- $name := printf "%s-%s" (include "letmepost.prefix" $root) $program -}}
{{- range $namespace := $root.Values.watchNamespaces }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: {{ $name }}-watched
  namespace: {{ $namespace | quote }}
  labels:
    {{- include "letmepost.labels" $root | nindent 4 }}
rules:
  {{- include (printf "letmepost.rules.%s" $program) $root | nindent 2 }}
---
{{ include "letmepost.binding" (dict "root" $root "kind" "Role" "name" (printf "%s-watched" $name) "namespace" $namespace "accounts" $accounts) }}
{{- else }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: {{ $name }}
  labels:
    {{- include "letmepost.labels" $root | nindent 4 }}
rules:
  {{- include (printf "letmepost.rules.%s" $program) $root | nindent 2 }}
---
{{ include "letmepost.binding" (dict "root" $root "kind" "ClusterRole" "name" $name "accounts" $accounts) }}
{{- end }}
{{- end }}

{{/* The condition that limits a policy to this install's namespaces; none if it watches all namespaces. */}}
{{- define "letmepost.policyScope" -}}
{{- with .Values.watchNamespaces }}
# Other namespaces may be another install's.
- name: in-a-watched-namespace
  expression: request.namespace in {{ toJson . }}
{{- end }}
{{- end }}

{{/*
Whether other programs act on the label or the annotation k of a map: those of Kubernetes, Helm and Argo CD. What stands
under app.kubernetes.io is for everybody. internal/keysecret has the same expression.
*/}}
{{- define "letmepost.isReserved" -}}
!k.startsWith("app.kubernetes.io/") && (k + "=" + {{ . }}[k]).matches(r"^(([a-z0-9-]+\.)*(kubernetes\.io|k8s\.io|helm\.sh)/|argocd\.argoproj\.io/secret-type=|owner=helm$)")
{{- end }}
