// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Runs an authorization server (oidc-provider) on loopback, for tests of accounts that are connected in a browser. It
// prints one line of JSON when it answers, and ends when its standard input does: a test that dies takes it along.
//
// Its clients differ in what platforms differ in: "plain" is refused with a code_verifier, as at LinkedIn, "partner" is
// that with refresh tokens, and "pkce" is refused without one. $OAUTH_REDIRECT_URIS, separated by commas, are where
// browsers may be sent back to.
import { createServer } from 'node:http'

// Modules are found from where this file was copied to, beside node_modules.
const { Provider } = await import('oidc-provider')

process.stdin.resume().once('end', () => process.exit(0))

const secret = 'a client secret that nobody may see'
const client = (id, grants) => ({
  client_id: id,
  client_secret: secret,
  token_endpoint_auth_method: 'client_secret_post',
  grant_types: grants,
  redirect_uris: process.env.OAUTH_REDIRECT_URIS.split(','),
})

const server = createServer()
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
const issuer = `http://127.0.0.1:${server.address().port}`

const provider = new Provider(issuer, {
  clients: [
    client('plain', ['authorization_code']),
    client('partner', ['authorization_code', 'refresh_token']),
    client('pkce', ['authorization_code']),
  ],
  // The addresses are LinkedIn's.
  routes: { authorization: '/oauth/v2/authorization', token: '/oauth/v2/accessToken', userinfo: '/v2/userinfo' },
  scopes: ['openid', 'profile', 'w_member_social'],
  claims: { openid: ['sub'], profile: ['name'] },
  conformIdTokenClaims: false,
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, name: `Member ${id}` }) }),
  pkce: { required: (_, { clientId }) => clientId === 'pkce' },
  issueRefreshToken: (_, { clientId }) => clientId === 'partner',
  rotateRefreshToken: false,
  ttl: { AccessToken: 60 * 24 * 60 * 60, RefreshToken: 365 * 24 * 60 * 60, Session: 3600, Grant: 3600, Interaction: 600 },
  cookies: { keys: ['tests'] },
  features: { devInteractions: { enabled: true }, revocation: { enabled: true } },
})

// What oidc-provider has no setting for: a client that is refused with a verifier, whatever it had sent before, and one
// that is refused with its secret in a header.
provider.use(async (ctx, next) => {
  if (ctx.path !== '/oauth/v2/accessToken') return next()
  const chunks = []
  for await (const chunk of ctx.req) chunks.push(chunk)
  ctx.req.body = Buffer.concat(chunks).toString()
  const sent = new URLSearchParams(ctx.req.body)
  if (!ctx.get('authorization') && (!sent.has('code_verifier') || sent.get('client_id') === 'pkce')) return next()
  ctx.status = 401
  ctx.body = { error: 'invalid_client', error_description: 'Client authentication failed' }
})

server.on('request', provider.callback())
console.log(JSON.stringify({ url: issuer, clientSecret: secret }))
