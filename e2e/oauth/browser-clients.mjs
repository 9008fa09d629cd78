// Clients that run in a page.

import assert from 'node:assert/strict'
import { basename } from 'node:path'
import { before, test } from 'node:test'

import { generateClientAssertionKey } from '@atcute/oauth-node-client'
import { JoseKey } from '@atproto/oauth-client-node'
import { build } from 'esbuild'

import { domain, stage } from './stage.mjs'
import { Visitor } from './visitor.mjs'

const scope = 'atproto repo:app.bsky.feed.post blob:image/* account:email'
const bundles = {}

before(async () => {
  await stage.ready()
  const { outputFiles } = await build({
    entryPoints: ['official', 'atcute'].map((name) => new URL(`apps/${name}.mjs`, import.meta.url).pathname),
    bundle: true,
    format: 'esm',
    write: false,
    outdir: '/',
    logLevel: 'warning',
  })
  for (const { path, text } of outputFiles) bundles[basename(path, '.js')] = text
})

/** Serves a web app at an address, and opens it in a browser. */
async function open(t, bundle, address, settings, prepare = async () => {}) {
  const script = new URL('app.js', address).href
  stage.apps.serve(script, bundles[bundle], 'text/javascript')
  stage.apps.serve(
    address,
    `<!DOCTYPE html><title>App</title><link rel="icon" href="data:,">
     <input id="account"><button id="redirect">Sign in</button><button id="popup">Sign in in a window</button><p id="status"></p>
     <script type="application/json" id="settings">${JSON.stringify(settings)}</script><script type="module" src="${script}"></script>`,
  )
  const visitor = await Visitor.arrive(t)
  await prepare(visitor)
  await visitor.page.goto(address)
  await says(visitor.page, 'signed out')
  return visitor
}

const local = () => ({ server: stage.local.url, plc: stage.world.plcUrl, scope })
const open443 = () => ({ server: stage.open.url, plc: stage.open.plcUrl, scope })

/** The document of an app at an origin. */
function metadata(origin, path, more = {}) {
  const document = {
    client_id: `${origin}${path}client.json`,
    client_name: 'An app in a page',
    client_uri: origin,
    redirect_uris: [`${origin}${path}`],
    scope,
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    application_type: 'web',
    token_endpoint_auth_method: 'none',
    dpop_bound_access_tokens: true,
    ...more,
  }
  stage.apps.serveJson(document.client_id, document)
  return document
}

async function says(page, text) {
  const status = page.locator('#status', { hasText: /./ })
  await status.waitFor()
  assert.equal(await status.textContent(), text)
}

/** What an app does that is signed in. */
async function lifeOfSession({ page }, did) {
  await says(page, `signed in as ${did}`)
  assert.equal(new URL(page.url()).hash, '')
  const write = (text) => page.evaluate((text) => app.write(text), text)
  assert.match(await write('by a page'), new RegExp(`^at://${did}/app.bsky.feed.post/`))
  assert.equal(await page.evaluate(() => app.refresh()), true)
  await write('by a page, later')
  assert.deepEqual(await page.evaluate(() => app.signOut()), { gone: true, status: 401, refused: true })
}

test('@atproto/oauth-client-browser on localhost, by redirect', async (t) => {
  const { session } = await stage.local.signUp('page-local')
  const address = `${stage.apps.origin}/official/`
  const visitor = await open(t, 'official', address, local())
  await visitor.page.locator('#account').fill(session.handle)
  await visitor.press('Sign in')
  await visitor.page.waitForURL(`${stage.local.url}/oauth/authorize?*`)
  await visitor.consent('page-local')
  await visitor.page.waitForURL(address)
  await says(visitor.page, `signed in as ${session.did}`)
  await visitor.page.reload() // the session comes back from the database
  await says(visitor.page, `signed in as ${session.did}`)
  assert.equal(await visitor.page.evaluate(() => app.upload(100_000)), 100_000)
  await lifeOfSession(visitor, session.did)
})

test('@atproto/oauth-client-browser in a window of its own', async (t) => {
  const { session } = await stage.open.signUp('page-popup')
  const origin = `https://page.${domain}`
  const { client_id: clientId } = metadata(origin, '/official/')
  const visitor = await open(t, 'official', `${origin}/official/`, { ...open443(), clientId })
  await visitor.page.locator('#account').fill(session.handle)

  await t.test('the user declines', async () => {
    const opened = visitor.page.waitForEvent('popup')
    await visitor.press('Sign in in a window')
    const popup = await opened
    await visitor.signIn('page-popup', popup)
    const closed = popup.waitForEvent('close')
    await visitor.press('Deny', popup)
    await closed
    await visitor.page.getByText('failed').waitFor()
  })

  await t.test('the user agrees', async () => {
    const opened = visitor.page.waitForEvent('popup')
    await visitor.press('Sign in in a window')
    const popup = await opened
    const closed = popup.waitForEvent('close')
    await visitor.consent('page-popup', popup)
    await closed
    await visitor.page.getByText('signed in as').waitFor()
    await lifeOfSession(visitor, session.did)
  })
})

test('@atcute/oauth-browser-client on localhost', async (t) => {
  const { session } = await stage.local.signUp('page-atcute')
  const address = `${stage.apps.origin}/atcute/`
  const visitor = await open(t, 'atcute', address, local())
  await visitor.page.locator('#account').fill(session.handle)
  await visitor.press('Sign in')
  await visitor.consent('page-atcute')
  await visitor.page.waitForURL(address)
  await lifeOfSession(visitor, session.did)
})

test('@atcute/oauth-browser-client with assertions of a server', async (t) => {
  const { session } = await stage.open.signUp('page-key')
  const origin = `https://page.${domain}`
  const key = await JoseKey.fromJWK(await generateClientAssertionKey('key-1', 'ES256'))
  const { client_id: clientId } = metadata(origin, '/atcute/', {
    token_endpoint_auth_method: 'private_key_jwt',
    token_endpoint_auth_signing_alg: 'ES256',
    jwks: { keys: [key.publicJwk] },
  })
  const visitor = await open(t, 'atcute', `${origin}/atcute/`, { ...open443(), clientId }, (visitor) =>
    visitor.context.exposeFunction('assertClient', async (aud) => ({
      client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
      client_assertion: await key.createJwt(
        { alg: 'ES256', kid: key.kid },
        { iss: clientId, sub: clientId, aud, jti: crypto.randomUUID(), iat: Math.floor(Date.now() / 1000), exp: Math.floor(Date.now() / 1000) + 60 },
      ),
    })),
  )
  await visitor.page.locator('#account').fill(session.handle)
  await visitor.press('Sign in')
  await visitor.consent('page-key')
  await visitor.page.waitForURL(`${origin}/atcute/`)
  await lifeOfSession(visitor, session.did)
})
