// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

// examples are shell lines for the documentation, by operationId. A test runs them all, one after the other, in the
// order of the routes. What a command prints contains what stands behind its "# =>".
var examples = map[string]string{
	"whoami":       `curl -s "$LMP_LIVE_URL/v1/whoami" -H "Authorization: Bearer $KEY"  # => "name":"backend"`,
	"listProfiles": `curl -s "$LMP_LIVE_URL/v1/profiles" -H "Authorization: Bearer $KEY"  # => "slug":"rockets"`,
	"getProfile": `PROFILE=$(kubectl get profile rockets -n acme -o jsonpath='{.metadata.uid}')
curl -s "$LMP_LIVE_URL/v1/profiles/$PROFILE" -H "Authorization: Bearer $KEY"  # => "name":"Acme Rockets"`,
	"listApiKeys":  `curl -s "$LMP_LIVE_URL/v1/api-keys?limit=2" -H "Authorization: Bearer $KEY"  # => "nextCursor":"`,
	"createApiKey": `curl -s -X POST "$LMP_LIVE_URL/v1/api-keys" -H "Authorization: Bearer $KEY"  # => kubectl apply`,
	"connectAccount": `curl -s -X POST "$LMP_TEST_URL/v1/accounts/connect/bluesky" -H "Authorization: Bearer $TEST_KEY"  # => "name":"appPassword"
curl -s -X POST "$LMP_LIVE_URL/v1/accounts/connect/bluesky" -H "Authorization: Bearer $KEY"  # => platform_not_enabled`,
	"completeConnection": `curl -s "$LMP_TEST_URL/v1/accounts/connect/bluesky/complete" -H "Authorization: Bearer $TEST_KEY" \
  -H "Content-Type: application/json" -d '{"identifier":"alice.test","appPassword":"any"}'  # => "displayName":"alice.test"`,
	"listAccounts": `ACCOUNT=$(curl -s "$LMP_TEST_URL/v1/accounts?limit=1" -H "Authorization: Bearer $TEST_KEY" | sed 's/^{"data":\[{"id":"\([^"]*\)".*/\1/')
echo $ACCOUNT  # => -7`,
	"getAccount": `curl -s "$LMP_TEST_URL/v1/accounts/$ACCOUNT" -H "Authorization: Bearer $TEST_KEY"  # => "platform":"bluesky"`,
	"disconnectAccount": `BOB=$(curl -s "$LMP_TEST_URL/v1/accounts/connect/linkedin/complete" -H "Authorization: Bearer $TEST_KEY" \
  -H "Content-Type: application/json" -d '{"identifier":"bob"}' | sed 's/^{"id":"\([^"]*\)".*/\1/')
curl -s -X DELETE "$LMP_TEST_URL/v1/accounts/$BOB" -H "Authorization: Bearer $TEST_KEY"  # => "deleted":true`,
	"uploadMedia": `base64 -d >pixel.png <<<iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==
MEDIA=$(curl -s "$LMP_TEST_URL/v1/media" -H "Authorization: Bearer $TEST_KEY" -F file=@pixel.png | sed 's/^{"id":"\([^"]*\)".*/\1/')
echo $MEDIA  # => med_`,
	"listMedia":       `curl -s "$LMP_TEST_URL/v1/media" -H "Authorization: Bearer $TEST_KEY"  # => "contentType":"image/png"`,
	"getMedia":        `curl -s "$LMP_TEST_URL/v1/media/$MEDIA" -H "Authorization: Bearer $TEST_KEY"  # => "sha256":`,
	"getMediaContent": `curl -s "$LMP_TEST_URL/v1/media/$MEDIA/content" -H "Authorization: Bearer $TEST_KEY" | cmp - pixel.png && rm pixel.png`,
	"deleteMedia":     `curl -s -X DELETE "$LMP_TEST_URL/v1/media/$MEDIA" -H "Authorization: Bearer $TEST_KEY"  # => "deleted":true`,
	"createPosts": `ID=$(cat /proc/sys/kernel/random/uuid)
curl -s "$LMP_TEST_URL/v1/posts" -H "Authorization: Bearer $TEST_KEY" -H "Idempotency-Key: $ID" \
  -H "Content-Type: application/json" -d '{"targets":[{"accountId":"'$ACCOUNT'"}],"text":"Hello"}'  # => "status":"published"
curl -si "$LMP_TEST_URL/v1/posts" -H "Authorization: Bearer $TEST_KEY" -H "Idempotency-Key: $ID" \
  -H "Content-Type: application/json" -d '{"targets":[{"accountId":"'$ACCOUNT'"}],"text":"Hello"}'  # => Idempotency-Replayed: true
POST=$(curl -s "$LMP_TEST_URL/v1/posts" -H "Authorization: Bearer $TEST_KEY" -H "Content-Type: application/json" \
  -d '{"targets":[{"accountId":"'$ACCOUNT'"}],"text":"Later","scheduledAt":"2099-01-01T00:00:00Z"}' | sed 's/.*"postId":"\([^"]*\)".*/\1/')`,
	"listPosts": `curl -s "$LMP_TEST_URL/v1/posts?status=queued&platform=bluesky" -H "Authorization: Bearer $TEST_KEY"  # => "text":"Later"`,
	"getPost":   `curl -s "$LMP_TEST_URL/v1/posts/$POST" -H "Authorization: Bearer $TEST_KEY"  # => "attempts":[]`,
	"editPost": `curl -s -X PATCH "$LMP_TEST_URL/v1/posts/$POST" -H "Authorization: Bearer $TEST_KEY" \
  -H "Content-Type: application/json" -d '{"text":"Much later"}'  # => "text":"Much later"`,
	"cancelPost": `curl -s -X DELETE "$LMP_TEST_URL/v1/posts/$POST" -H "Authorization: Bearer $TEST_KEY"  # => "status":"canceled"`,
	"retryPost":  `curl -s -X POST "$LMP_TEST_URL/v1/posts/$POST/retry" -H "Authorization: Bearer $TEST_KEY"  # => "status":"queued"`,
	"openapi":    `curl -s "$LMP_LIVE_URL/v1/openapi.json"  # => "openapi":"3.1.0"`,
	"readyz":     `curl -s "$LMP_LIVE_URL/readyz"  # => ok`,
}
