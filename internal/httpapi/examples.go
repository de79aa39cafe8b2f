// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

// What the examples have in common. They are put together, and not written in full, to keep lines short: whoever reads
// the documentation gets each command as it is to be typed.
const (
	withKey     = ` -H "Authorization: Bearer $KEY"`
	withTestKey = ` -H "Authorization: Bearer $TEST_KEY"`
	asJSON      = `-H "Content-Type: application/json"`

	// Shells without jq are common: sed takes the id out, which comes first in what is answered.
	firstID     = `sed 's/^{"id":"\([^"]*\)".*/\1/'`
	firstItemID = `sed 's/^{"data":\[{"id":"\([^"]*\)".*/\1/'`
	postID      = `sed 's/.*"postId":"\([^"]*\)".*/\1/'`

	// The smallest PNG there is, of one pixel.
	pixel = `iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==`

	// What is sent twice, to show what an Idempotency-Key does.
	sayHello = withTestKey + ` -H "Idempotency-Key: $ID" \
  ` + asJSON + ` -d '{"targets":[{"accountId":"'$ACCOUNT'"}],"text":"Hello"}'`
)

// examples are shell lines for the documentation, by operationId. A test runs them all, one after the other, in the
// order of the routes, so each may use what one before it has made: $ACCOUNT, $MEDIA, $POST. What a command prints
// contains what stands behind its "# =>". What a command needs from outside is in the reader's environment:
// $LMP_LIVE_URL and $LMP_TEST_URL, $KEY and $TEST_KEY.
var examples = map[string]string{
	"whoami":       `curl -s "$LMP_LIVE_URL/v1/whoami"` + withKey + `  # => "name":"backend"`,
	"listProfiles": `curl -s "$LMP_LIVE_URL/v1/profiles"` + withKey + `  # => "slug":"rockets"`,
	"getProfile": `PROFILE=$(kubectl get profiles.letmepost.dev rockets -n acme -o jsonpath='{.metadata.uid}')
curl -s "$LMP_LIVE_URL/v1/profiles/$PROFILE"` + withKey + `  # => "name":"Acme Rockets"`,
	"listApiKeys":  `curl -s "$LMP_LIVE_URL/v1/api-keys?limit=2"` + withKey + `  # => "nextCursor":"`,
	"createApiKey": `curl -s -X POST "$LMP_LIVE_URL/v1/api-keys"` + withKey + `  # => kubectl apply`,

	"connectAccount": `curl -s -X POST "$LMP_TEST_URL/v1/accounts/connect/bluesky"` + withTestKey +
		`  # => "name":"appPassword"
curl -s -X POST "$LMP_LIVE_URL/v1/accounts/connect/bluesky"` + withKey + `  # => "state":"stable"
curl -s -X POST "$LMP_LIVE_URL/v1/accounts/connect/linkedin"` + withKey + `  # => platform_not_enabled`,
	"completeConnection": `curl -s "$LMP_TEST_URL/v1/accounts/connect/bluesky/complete"` + withTestKey + ` \
  ` + asJSON + ` -d '{"identifier":"alice.test","appPassword":"any"}'  # => "displayName":"alice.test"`,
	"listAccounts": `ACCOUNT=$(curl -s "$LMP_TEST_URL/v1/accounts?limit=1"` + withTestKey + ` | ` + firstItemID + `)
echo $ACCOUNT  # => -7`, // ids of accounts are UUIDv7
	"getAccount": `curl -s "$LMP_TEST_URL/v1/accounts/$ACCOUNT"` + withTestKey + `  # => "platform":"bluesky"`,
	"disconnectAccount": `BOB=$(curl -s "$LMP_TEST_URL/v1/accounts/connect/linkedin/complete"` + withTestKey + ` \
  ` + asJSON + ` -d '{"identifier":"bob"}' | ` + firstID + `)
curl -s -X DELETE "$LMP_TEST_URL/v1/accounts/$BOB"` + withTestKey + `  # => "deleted":true`,

	"uploadMedia": `base64 -d >pixel.png <<<` + pixel + `
MEDIA=$(curl -s "$LMP_TEST_URL/v1/media"` + withTestKey + ` -F file=@pixel.png | ` + firstID + `)
echo $MEDIA  # => med_`,
	"listMedia": `curl -s "$LMP_TEST_URL/v1/media"` + withTestKey + `  # => "contentType":"image/png"`,
	"getMedia":  `curl -s "$LMP_TEST_URL/v1/media/$MEDIA"` + withTestKey + `  # => "sha256":`,
	"getMediaContent": `curl -s "$LMP_TEST_URL/v1/media/$MEDIA/content"` + withTestKey +
		` | cmp - pixel.png && rm pixel.png`,
	"deleteMedia": `curl -s -X DELETE "$LMP_TEST_URL/v1/media/$MEDIA"` + withTestKey + `  # => "deleted":true`,

	"createPosts": `ID=$(cat /proc/sys/kernel/random/uuid)
curl -s "$LMP_TEST_URL/v1/posts"` + sayHello + `  # => "status":"published"
curl -si "$LMP_TEST_URL/v1/posts"` + sayHello + `  # => Idempotency-Replayed: true
POST=$(curl -s "$LMP_TEST_URL/v1/posts"` + withTestKey + ` ` + asJSON + ` \
  -d '{"targets":[{"accountId":"'$ACCOUNT'"}],"text":"Later","scheduledAt":"2099-01-01T00:00:00Z"}' | ` + postID + `)`,
	"listPosts": `curl -s "$LMP_TEST_URL/v1/posts?status=queued&platform=bluesky"` + withTestKey + `  # => "text":"Later"`,
	"getPost":   `curl -s "$LMP_TEST_URL/v1/posts/$POST"` + withTestKey + `  # => "attempts":[]`,
	"editPost": `curl -s -X PATCH "$LMP_TEST_URL/v1/posts/$POST"` + withTestKey + ` \
  ` + asJSON + ` -d '{"text":"Much later"}'  # => "text":"Much later"`,
	"cancelPost": `curl -s -X DELETE "$LMP_TEST_URL/v1/posts/$POST"` + withTestKey + `  # => "status":"canceled"`,
	"retryPost":  `curl -s -X POST "$LMP_TEST_URL/v1/posts/$POST/retry"` + withTestKey + `  # => "status":"queued"`,

	"openapi": `curl -s "$LMP_LIVE_URL/v1/openapi.json"  # => "openapi":"3.1.0"`,
	"readyz":  `curl -s "$LMP_LIVE_URL/readyz"  # => ok`,
}
