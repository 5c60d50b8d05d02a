{{/* What is installed is named so. 53 characters: with the longest suffix, -dashboard, it is a label yet. */}}
{{- define "tickwire.fullname" -}}
{{- $name := .Values.nameOverride | default .Chart.Name -}}
{{- $release := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- .Values.fullnameOverride | default $release | trunc 53 | trimSuffix "-" -}}
{{- end }}

{{/* Labels that tell the operator's pods from all others. */}}
{{- define "tickwire.selectorLabels" -}}
app.kubernetes.io/name: {{ .Values.nameOverride | default .Chart.Name | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: operator
{{- end }}

{{/* The same on one line, as label selectors are written. */}}
{{- define "tickwire.selector" -}}
{{- $terms := list -}}
{{- range $key, $value := include "tickwire.selectorLabels" . | fromYaml -}}
{{- $terms = append $terms (printf "%s=%s" $key $value) -}}
{{- end -}}
{{- join "," $terms -}}
{{- end }}

{{/* Labels of everything. */}}
{{- define "tickwire.labels" -}}
{{ include "tickwire.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: tickwire
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* Labels of the pod of helm test, which is none of the operator's. */}}
{{- define "tickwire.testLabels" -}}
{{ include "tickwire.selectorLabels" . | replace "component: operator" "component: test" }}
{{- end }}

{{- define "tickwire.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (ternary (include "tickwire.fullname" .) "default" .Values.serviceAccount.create) -}}
{{- end }}

{{/* Whether custom.metrics.k8s.io is served: not empty where it is. There is one such API in a cluster. */}}
{{- define "tickwire.customMetrics" -}}
{{- $enabled := .Values.customMetrics.enabled | toString -}}
{{- if or (eq $enabled "true") (and (eq $enabled "auto") (empty .Values.watchNamespace)) -}}true{{- end -}}
{{- end }}

{{- define "tickwire.image" -}}
{{- $tag := .Values.image.tag | default .Chart.AppVersion -}}
{{- .Values.image.repository }}{{ if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ $tag }}{{ end -}}
{{- end }}
