{{/*
Here the chart refuses what the processes would refuse when they start; in a pod they would crash again and again.
The rules are those of cmd/api and cmd/controller: test/chart starts the real processes with what passes here.
*/}}

{{/*
Ends the rendering with a sentence unless a value is ok.
Call with (dict "name" "api.x" "value" … "ok" true "want" "a size such as 10Gi").
*/}}
{{- define "letmepost.check" -}}
{{- if not .ok }}{{ fail (printf "%s is %q: want %s." .name (.value | default "" | toString) .want) }}{{ end }}
{{- end }}

{{/* Seconds of a duration such as 1h30m, rounded down; 0 if it is not a duration, or too long to be counted. */}}
{{- define "letmepost.seconds" -}}
{{- $start := toDate "2006-01-02" "2000-01-01" -}}
{{- if regexMatch "^([0-9]{1,9}(\\.[0-9]{1,9})?(s|m|h))+$" (. | default "") -}}
{{ sub (dateModify . $start | unixEpoch | int64) ($start | unixEpoch | int64) }}
{{- else }}0{{ end }}
{{- end }}

{{/* REQUESTS/WINDOW, or none. Call with (list NAME VALUE). */}}
{{- define "letmepost.checkRate" -}}
{{- $value := index . 1 | default "" -}}
{{- $ok := eq $value "none" -}}
{{- if regexMatch "^[1-9][0-9]{0,6}/([0-9]{1,9}(s|m|h))+$" $value -}}
{{- $parts := splitList "/" $value -}}
{{- $seconds := include "letmepost.seconds" (last $parts) | int64 -}}
{{- $ok = and (le (first $parts | int64) 1000000) (ge $seconds 1) (le $seconds 86400) -}}
{{- end -}}
{{- include "letmepost.check" (dict "name" (index . 0) "value" $value "ok" $ok "want" "REQUESTS/WINDOW, such as 60000/1m, with 1 to 1000000 requests and a window of 1s to 24h, or none") -}}
{{- end }}

{{/* A number of bytes. Call with (list NAME VALUE). */}}
{{- define "letmepost.checkMediaSize" -}}
{{- $value := index . 1 | default "" -}}
{{- $unit := regexFind "(Ki|Mi|Gi|k|M|G)?$" $value -}}
{{- $bytes := get (dict "" 1 "k" 1000 "M" 1000000 "G" 1000000000 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824) $unit -}}
{{- $ok := regexMatch "^[1-9][0-9]{0,17}(Ki|Mi|Gi|k|M|G)?$" $value -}}
{{- $most := div 2097152000 $bytes -}}
{{- $number := trimSuffix $unit $value | int64 -}}
{{- $ok = and $ok (le $number $most) (ge (mul (min $number $most) $bytes) (index . 2)) -}}
{{- include "letmepost.check" (dict "name" (index . 0) "value" $value "ok" $ok "want" (printf "bytes, such as 200Mi, up to 2000Mi%s" (ternary ", and 8Mi at least" "" (gt (index . 2) 1)))) -}}
{{- end }}

{{/* The base of URLs, or nothing. Call with (list NAME VALUE EXAMPLE). */}}
{{- define "letmepost.checkURL" -}}
{{- $ok := regexMatch "^(https?://([A-Za-z0-9._-]+|\\[[0-9A-Fa-f:.]+\\])(:[0-9]{1,5})?(/([^?#%\\s[:cntrl:]]|%[0-9A-Fa-f]{2})*)?)?$" (index . 1 | default "") -}}
{{- include "letmepost.check" (dict "name" (index . 0) "value" (index . 1) "ok" $ok "want" (printf "an http or https URL, such as %s, without credentials, blanks, ? and #" (index . 2))) -}}
{{- end }}

{{/* A network in CIDR notation. Call with (list NAME VALUE). */}}
{{- define "letmepost.checkNetwork" -}}
{{- $value := index . 1 -}}
{{- $byte := "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])" -}}
{{- $group := "[0-9A-Fa-f]{1,4}" -}}
{{- $groups := printf "(%s(:%s){0,6})?" $group $group -}}
{{- $four := regexMatch (printf "^%s(\\.%s){3}/(3[0-2]|[12]?[0-9])$" $byte $byte) $value -}}
{{- $six := regexMatch (printf "^((%s:){7}%s|%s::%s)/(12[0-8]|1[01][0-9]|[1-9]?[0-9])$" $group $group $groups $groups) $value -}}
{{- /* "::" stands for one group at least. */ -}}
{{- $known := regexFindAll $group (first (splitList "/" $value)) -1 | len -}}
{{- $ok := or $four (and $six (or (lt $known 8) (not (contains "::" $value)))) -}}
{{- include "letmepost.check" (dict "name" (index . 0) "value" $value "ok" $ok "want" "networks such as 10.0.0.0/8") -}}
{{- end }}
