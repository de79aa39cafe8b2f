// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package chart_test

var (
	dataMount  = map[string]any{"name": "data", "mountPath": "/var/lib/letmepost"}
	mediaMount = map[string]any{"name": "media", "mountPath": "/var/lib/letmepost-media"}
)

func claimed(volume, claim string) map[string]any {
	return map[string]any{"name": volume, "persistentVolumeClaim": map[string]any{"claimName": claim}}
}

func fromSecret(name, secret, key string) map[string]any {
	return map[string]any{"name": name, "valueFrom": map[string]any{"secretKeyRef": map[string]any{"name": secret, "key": key}}}
}

// databaseEnv is the one variable of an API that has a database by Secret.
func databaseEnv(secret, key string) map[string]any {
	return fromSecret("LMP_DATABASE_URL", secret, key)
}

// linkedinEnv is the variable of the secret of the app at LinkedIn, without which the pod starts, too.
func linkedinEnv(secret, key string) map[string]any {
	from := map[string]any{"name": secret, "key": key, "optional": true}
	return map[string]any{"name": "LMP_LINKEDIN_CLIENT_SECRET", "valueFrom": map[string]any{"secretKeyRef": from}}
}

// keysetVolume is the keyset's Secret in a pod, without which the pod starts, too.
func keysetVolume(secret string) map[string]any {
	return map[string]any{"name": "vault", "secret": map[string]any{"secretName": secret, "defaultMode": 0o440, "optional": true}}
}

var (
	keysetMount = map[string]any{"name": "vault", "mountPath": "/etc/letmepost/vault", "readOnly": true}
	keysetArg   = "--vault-keyset=/etc/letmepost/vault/keyset.json"
)

var storageCases = []valueCase{
	{
		"by default the vault's keyset is made before the first pod, once, by who may create Secrets and nothing else; the live API alone has it",
		settings{},
		all(
			is(vaultJob, "metadata annotations helm.sh/hook", "pre-install,pre-upgrade"),
			is(vaultJob, container+" args", []any{"vault", "init", "--secret=letmepost-vault", "--namespace=letmepost-system", "--timeout=200s"}),
			is(vaultJob, container+" image", "letmepost/api:"+appVersion),
			is("Role/letmepost-vault", "rules", []any{map[string]any{
				"apiGroups": []any{""}, "resources": []any{"secrets"}, "verbs": []any{"create"},
			}}),
			is("Role/letmepost-vault", "metadata annotations helm.sh/hook-delete-policy", "before-hook-creation,hook-succeeded"),
			has(liveAPI, args, keysetArg), has(liveAPI, mounts, keysetMount), has(liveAPI, volumes, keysetVolume("letmepost-vault")),
			hasNot(testAPI, args, keysetArg), hasNot(testAPI, mounts, keysetMount), hasNot(testAPI, volumes, keysetVolume("letmepost-vault")),
			absent("Secret/letmepost-vault"), // a template would make another one with each rendering
		),
	},
	{
		"vault.existingSecret: it is somebody else's, and nothing is made",
		settings{"vault.existingSecret": "keys"},
		all(has(liveAPI, volumes, keysetVolume("keys")), has(liveAPI, args, keysetArg), absent(vaultJob, "Role/letmepost-vault")),
	},
	{
		"vault.create off: it is made by hand, under the name that it has otherwise",
		settings{"vault.create": false},
		all(has(liveAPI, volumes, keysetVolume("letmepost-vault")), absent(vaultJob, "Role/letmepost-vault")),
	},
	{
		"without a live API there is nothing to seal",
		settings{"api.live.enabled": false},
		absent(vaultJob, "Role/letmepost-vault"),
	},
	{
		"by default: SQLite, a volume for each environment that outlives the release, and one replica that ends before the next begins",
		settings{},
		all(
			is(liveAPI, "spec replicas", 1), is(liveAPI, "spec strategy", map[string]any{"type": "Recreate"}),
			has(liveAPI, volumes, claimed("data", "letmepost-api-live")), has(testAPI, volumes, claimed("data", "letmepost-api-test")),
			has(liveAPI, mounts, dataMount), is(liveAPI, env, nil),
			is("PersistentVolumeClaim/letmepost-api-live", "metadata annotations helm.sh/resource-policy", "keep"),
			is("PersistentVolumeClaim/letmepost-api-test", "spec storageClassName", nil),
			is("PodDisruptionBudget/letmepost-api-live", "spec maxUnavailable", 1), // one of one: a drain may take it
		),
	},
	{
		"database.existingSecret: PostgreSQL, a database for each environment, two replicas, no volume, and a rollout that takes none away before its time",
		settings{"database.existingSecret": "pg", "media.url": "s3://bucket?region=eu"},
		all(
			has(liveAPI, env, databaseEnv("pg", "live-url")), has(testAPI, env, databaseEnv("pg", "test-url")),
			is(liveAPI, "spec replicas", 2),
			is(liveAPI, "spec strategy", map[string]any{"type": "RollingUpdate", "rollingUpdate": map[string]any{"maxUnavailable": 0, "maxSurge": 1}}),
			hasNot(liveAPI, mounts, dataMount), absent("PersistentVolumeClaim/letmepost-api-live"),
			exists("PodDisruptionBudget/letmepost-api-live", "PodDisruptionBudget/letmepost-api-test"),
		),
	},
	{
		"{environment} in database.existingSecret is the environment, as one Secret a database needs it",
		with(postgres, settings{"database.existingSecret": "letmepost-{environment}-app", "database.key": "uri"}),
		all(has(liveAPI, env, databaseEnv("letmepost-live-app", "uri")), has(testAPI, env, databaseEnv("letmepost-test-app", "uri"))),
	},
	{
		"one environment alone needs no {environment}",
		with(postgres, settings{"database.key": "uri", "api.test.enabled": false}),
		has(liveAPI, env, databaseEnv("pg", "uri")),
	},
	{
		"PostgreSQL with one replica keeps media on a volume of its own",
		settings{"database.existingSecret": "pg", "api.live.replicas": 1, "api.test.replicas": 1},
		all(
			has(liveAPI, env, databaseEnv("pg", "live-url")), has(liveAPI, volumes, claimed("data", "letmepost-api-live")),
			is(liveAPI, "spec strategy type", "Recreate"),
		),
	},
	{
		"database.sqlite says what the volume is",
		settings{"database.sqlite.size": "3Gi", "database.sqlite.storageClassName": "fast"},
		all(
			is("PersistentVolumeClaim/letmepost-api-live", "spec resources requests storage", "3Gi"),
			is("PersistentVolumeClaim/letmepost-api-live", "spec storageClassName", "fast"),
		),
	},
	{
		"database.sqlite.existingClaim is used, and none is made",
		settings{"database.sqlite.existingClaim": "mine-{environment}"},
		all(
			has(liveAPI, volumes, claimed("data", "mine-live")), has(testAPI, volumes, claimed("data", "mine-test")),
			absent("PersistentVolumeClaim/letmepost-api-live", "PersistentVolumeClaim/letmepost-api-test"),
		),
	},
	{
		"database.sqlite.keep off: the volume goes with the release",
		settings{"database.sqlite.keep": false},
		is("PersistentVolumeClaim/letmepost-api-live", "metadata annotations", nil),
	},
	{
		"media.url with SQLite: a bucket for media, the volume for the database",
		settings{"media.url": "s3://bucket?region=eu"},
		all(has(liveAPI, args, "--media-url=s3://bucket?region=eu"), has(liveAPI, mounts, dataMount), is(liveAPI, "spec strategy type", "Recreate")),
	},
	{
		"media.credentialsSecret is the environment of the API, and of nobody else",
		with(postgres, settings{"media.credentialsSecret": "aws"}),
		all(
			is(liveAPI, container+" envFrom", []any{map[string]any{"secretRef": map[string]any{"name": "aws"}}}),
			is(controller, container+" envFrom", nil),
		),
	},
	{
		"media.existingClaim: a volume that replicas share, a folder for each environment",
		settings{"database.existingSecret": "pg", "media.existingClaim": "media"},
		all(
			has(liveAPI, volumes, claimed("media", "media")), has(liveAPI, mounts, mediaMount),
			has(liveAPI, args, "--media-url=file:///var/lib/letmepost-media/live"), has(testAPI, args, "--media-url=file:///var/lib/letmepost-media/test"),
			is(liveAPI, "spec replicas", 2), is(liveAPI, "spec strategy type", "RollingUpdate"),
		),
	},
	{
		"redis is the API's, by Secret, so that its password shows in no list of processes",
		settings{"redis.existingSecret": "redis", "redis.key": "uri"},
		all(
			has(liveAPI, env, fromSecret("LMP_REDIS_URL", "redis", "uri")), has(testAPI, env, fromSecret("LMP_REDIS_URL", "redis", "uri")),
			is(controller, env, nil),
		),
	},
}
