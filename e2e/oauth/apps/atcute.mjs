// A web app with the client of atcute, like the official one.

import { Client, ok } from '@atcute/client'
import {
  CompositeDidDocumentResolver,
  LocalActorResolver,
  PlcDidDocumentResolver,
  XrpcHandleResolver,
} from '@atcute/identity-resolver'
import {
  OAuthUserAgent,
  TokenRefreshError,
  configureOAuth,
  createAuthorizationUrl,
  finalizeAuthorization,
  getSession,
} from '@atcute/oauth-browser-client'

const settings = JSON.parse(document.getElementById('settings').textContent)
const status = document.getElementById('status')
const say = (text) => (status.textContent = text)

const here = location.origin + location.pathname
configureOAuth({
  metadata: {
    client_id: settings.clientId ?? `http://localhost?${new URLSearchParams({ redirect_uri: here, scope: settings.scope })}`,
    redirect_uri: here,
  },
  identityResolver: new LocalActorResolver({
    handleResolver: new XrpcHandleResolver({ serviceUrl: settings.server }),
    didDocumentResolver: new CompositeDidDocumentResolver({
      methods: { plc: new PlcDidDocumentResolver({ apiUrl: settings.plc }) },
    }),
  }),
  // A confidential app asks its server, which is the test, for assertions.
  fetchClientAssertion: globalThis.assertClient && (async ({ aud, createDpopProof }) => globalThis.assertClient(aud, await createDpopProof(`${location.origin}/assertion`))),
})

const app = {
  async write(text) {
    const record = { $type: 'app.bsky.feed.post', text, createdAt: new Date().toISOString() }
    const input = { repo: app.agent.sub, collection: 'app.bsky.feed.post', record }
    return (await ok(new Client({ handler: app.agent }).post('com.atproto.repo.createRecord', { input }))).uri
  },

  async refresh() {
    const before = app.agent.session.token.access
    const session = await getSession(app.agent.sub, { noCache: true })
    app.agent = new OAuthUserAgent(session)
    return before !== session.token.access
  },

  async signOut() {
    const { session, sub } = app.agent
    const kept = { ...localStorage }
    await app.agent.signOut()
    const gone = await getSession(sub, { allowStale: true }).then(() => false, () => true)
    const old = new OAuthUserAgent(session)
    const { status } = await old.handle('/xrpc/com.atproto.server.getSession')
    for (const [key, value] of Object.entries(kept)) localStorage.setItem(key, value)
    const refused = await getSession(sub, { noCache: true }).then(() => false, (err) => err instanceof TokenRefreshError)
    return { gone, status, refused }
  },
}
globalThis.app = app

document.getElementById('redirect').onclick = async () => {
  try {
    const identifier = document.getElementById('account').value
    location.assign(await createAuthorizationUrl({ target: { type: 'account', identifier }, scope: settings.scope }))
  } catch (err) {
    say(`failed: ${err.stack}`)
  }
}

try {
  const params = new URLSearchParams(location.hash.slice(1))
  if (params.has('state')) {
    history.replaceState(null, '', location.pathname)
    const { session } = await finalizeAuthorization(params)
    app.agent = new OAuthUserAgent(session)
  }
  say(app.agent ? `signed in as ${app.agent.sub}` : 'signed out')
} catch (err) {
  say(`failed: ${err.stack}`)
}
