// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Runs an authorization server (oidc-provider) on loopback, for tests of accounts that are connected in a browser. It
// prints one line of JSON when it answers, and ends when its standard input does: a test that dies takes it along.
//
// Its clients differ in what platforms differ in: "plain" is refused with a code_verifier, as at LinkedIn, "partner" is
// that with refresh tokens, and "pkce" is refused without one. $OAUTH_REDIRECT_URIS, separated by commas, are where
// browsers may be sent back to.
//
// "dashboard" is a client of OpenID Connect that is refused without a code_verifier, and gets a refresh token that is
// good once; so is "stranger", whom nobody trusts. Both may have browsers sent back to any port of 127.0.0.1. With
// $OAUTH_ISSUER, the server is behind a proxy that has this URL; $OAUTH_ID_TOKEN_SECONDS is how long an ID token is good.
import { createServer } from 'node:http'

// Modules are found from where this file was copied to, beside node_modules.
const { Provider } = await import('oidc-provider')

// Tests set the clock ahead: /clock?ahead=SECONDS.
const now = Date.now
let ahead = 0
Date.now = () => now() + ahead

process.stdin.resume().once('end', () => process.exit(0))

// Clients that people sign in by.
const people = ['dashboard', 'stranger']
const secret = 'a client secret that nobody may see'
const client = (id, grants, shown = 'client_secret_post') => ({
  client_id: id,
  client_secret: secret,
  token_endpoint_auth_method: shown,
  grant_types: grants,
  redirect_uris: process.env.OAUTH_REDIRECT_URIS.split(','),
})

const server = createServer()
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
const here = `http://127.0.0.1:${server.address().port}`
const issuer = process.env.OAUTH_ISSUER ?? here

const provider = new Provider(issuer, {
  clients: [
    client('plain', ['authorization_code']),
    client('partner', ['authorization_code', 'refresh_token']),
    client('pkce', ['authorization_code']),
    client('dashboard', ['authorization_code', 'refresh_token'], 'client_secret_basic'),
    client('stranger', ['authorization_code', 'refresh_token'], 'client_secret_basic'),
  ],
  // The addresses are LinkedIn's.
  routes: { authorization: '/oauth/v2/authorization', token: '/oauth/v2/accessToken', userinfo: '/v2/userinfo' },
  scopes: ['openid', 'profile', 'groups', 'offline_access', 'w_member_social'],
  claims: { openid: ['sub'], profile: ['name'], groups: ['groups'] },
  conformIdTokenClaims: false,
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, name: `Member ${id}`, groups: [`friends-of-${id}`] }) }),
  pkce: { required: (_, { clientId }) => clientId === 'pkce' || people.includes(clientId) },
  issueRefreshToken: (_, { clientId }, { scopes }) =>
    clientId === 'partner' || (people.includes(clientId) && scopes.has('offline_access')),
  rotateRefreshToken: ({ oidc }) => people.includes(oidc.client.clientId),
  ttl: {
    IdToken: Number(process.env.OAUTH_ID_TOKEN_SECONDS ?? 3600),
    AccessToken: 60 * 24 * 60 * 60, RefreshToken: 365 * 24 * 60 * 60, Session: 3600, Grant: 3600, Interaction: 600,
  },
  cookies: { keys: ['tests'] },
  features: { devInteractions: { enabled: true }, revocation: { enabled: true } },
})

// What oidc-provider has no setting for: a client that is refused with a verifier, whatever it had sent before, and one
// that is refused with its secret in a header.
provider.use(async (ctx, next) => {
  if (ctx.path === '/clock') {
    ahead = 1000 * Number(ctx.query.ahead)
    ctx.status = 204
    return
  }
  if (ctx.path !== '/oauth/v2/accessToken') return next()
  const chunks = []
  for await (const chunk of ctx.req) chunks.push(chunk)
  ctx.req.body = Buffer.concat(chunks).toString()
  const sent = new URLSearchParams(ctx.req.body)
  const shown = Buffer.from(ctx.get('authorization').replace(/^Basic /, ''), 'base64').toString()
  if (people.includes(shown.split(':')[0])) return next()
  if (!ctx.get('authorization') && (!sent.has('code_verifier') || sent.get('client_id') === 'pkce')) return next()
  ctx.status = 401
  ctx.body = { error: 'invalid_client', error_description: 'Client authentication failed' }
})

// The port of a test is not known before it runs (RFC 8252, section 7.3, has that for native apps).
const { redirectUriAllowed } = provider.Client.prototype
provider.Client.prototype.redirectUriAllowed = function allowed(uri) {
  return redirectUriAllowed.call(this, uri) || (people.includes(this.clientId) && new URL(uri).hostname === '127.0.0.1')
}

provider.proxy = issuer !== here
server.on('request', provider.callback())
console.log(JSON.stringify({ url: here, clientSecret: secret }))
