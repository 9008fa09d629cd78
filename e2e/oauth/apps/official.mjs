// A web app with the official client. What it has to tell stands in its status
// line; tests call the rest.

import { Agent } from '@atproto/api'
import { BrowserOAuthClient, TokenRefreshError, buildAtprotoLoopbackClientMetadata } from '@atproto/oauth-client-browser'

const settings = JSON.parse(document.getElementById('settings').textContent)
const status = document.getElementById('status')
const say = (text) => (status.textContent = text)

const options = {
  handleResolver: settings.server,
  plcDirectoryUrl: settings.plc,
  allowHttp: settings.server.startsWith('http:'),
}

async function load() {
  if (settings.clientId) return BrowserOAuthClient.load({ clientId: settings.clientId, ...options })
  const clientMetadata = buildAtprotoLoopbackClientMetadata({ scope: settings.scope, redirect_uris: [location.origin + location.pathname] })
  return new BrowserOAuthClient({ clientMetadata, ...options })
}

/** What tests call. A session stays in the page, or comes back from the database. */
const app = {
  async write(text) {
    const record = { $type: 'app.bsky.feed.post', text, createdAt: new Date().toISOString() }
    const agent = new Agent(app.session)
    const { data } = await agent.com.atproto.repo.createRecord({ repo: agent.assertDid, collection: 'app.bsky.feed.post', record })
    return data.uri
  },

  async upload(size) {
    const { data } = await new Agent(app.session).uploadBlob(new Blob([new Uint8Array(size)]), { encoding: 'image/png' })
    return data.blob.size
  },

  async refresh() {
    const before = await app.stored()
    app.session = await app.client.restore(app.session.did, true)
    const after = await app.stored()
    return before.tokenSet.access_token !== after.tokenSet.access_token
  },

  stored: () => app.client.sessionGetter.getStored(app.session.did),

  /** Signs out, and says what tokens are worth that somebody has kept. */
  async signOut() {
    const kept = await app.stored()
    const { did } = app.session
    await app.session.signOut()
    const gone = (await app.client.sessionGetter.getStored(did)) === undefined
    await app.client.sessionGetter.setStored(did, kept)
    const session = await app.client.restore(did, false)
    const { status } = await session.fetchHandler('/xrpc/com.atproto.server.getSession')
    await app.client.sessionGetter.setStored(did, kept)
    const refused = await app.client.restore(did, true).then(() => false, (err) => err instanceof TokenRefreshError)
    return { gone, status, refused }
  },
}
globalThis.app = app

try {
  app.client = await load()
  const found = await app.client.init()
  app.session = found?.session
  say(found ? `signed in as ${found.session.did}` : 'signed out')
} catch (err) {
  say(`failed: ${err.stack}`)
}

const account = () => document.getElementById('account').value
document.getElementById('redirect').onclick = () => app.client.signIn(account(), { scope: settings.scope, state: 'redirect' }).catch((err) => say(`failed: ${err.stack}`))
document.getElementById('popup').onclick = async () => {
  try {
    app.session = await app.client.signIn(account(), { display: 'popup', scope: settings.scope })
    say(`signed in as ${app.session.did}`)
  } catch (err) {
    say(`failed: ${err.message}`)
  }
}
