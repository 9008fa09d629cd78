// Clients that run in Node: a program on the user's machine, and a server with
// a key of its own.

import assert from 'node:assert/strict'
import { before, test } from 'node:test'

import { Client, ok } from '@atcute/client'
import {
  CompositeDidDocumentResolver,
  LocalActorResolver,
  PlcDidDocumentResolver,
  XrpcHandleResolver,
} from '@atcute/identity-resolver'
import { MemoryStore, OAuthClient, TokenRefreshError as AtcuteRefreshError, generateClientAssertionKey } from '@atcute/oauth-node-client'
import { Agent } from '@atproto/api'
import { JoseKey, OAuthCallbackError, TokenRefreshError, buildAtprotoLoopbackClientMetadata } from '@atproto/oauth-client-node'

import { officialClient } from './official.mjs'
import { domain, stage } from './stage.mjs'
import { Visitor } from './visitor.mjs'

before(() => stage.ready())

const scope = 'atproto repo:app.bsky.feed.post account:email'
const post = (text) => ({ $type: 'app.bsky.feed.post', text, createdAt: new Date().toISOString() })

/** What a session of the official client goes through, from the callback to the end. */
async function lifeOfSession(client, sessions, callback, did) {
  const { session, state } = await client.callback(callback.searchParams)
  assert.equal(state, 'the state')
  assert.equal(session.did, did)
  const agent = new Agent(session)
  const { data } = await agent.com.atproto.repo.createRecord({
    repo: did,
    collection: 'app.bsky.feed.post',
    record: post('by an app'),
  })
  assert.match(data.uri, new RegExp(`^at://${did}/app.bsky.feed.post/`))
  await assert.rejects(agent.com.atproto.repo.createRecord({ repo: did, collection: 'com.example.other', record: {} }), {
    status: 403,
  })

  const first = sessions.get(did)
  const renewed = await client.restore(did, true)
  const second = sessions.get(did)
  assert.notEqual(second.tokenSet.access_token, first.tokenSet.access_token)
  assert.notEqual(second.tokenSet.refresh_token, first.tokenSet.refresh_token)
  await new Agent(renewed).com.atproto.repo.deleteRecord({
    repo: did,
    collection: 'app.bsky.feed.post',
    rkey: data.uri.split('/').at(-1),
  })

  await renewed.signOut()
  assert.equal(sessions.size, 0)
  // Tokens that somebody has kept are worth nothing.
  sessions.set(did, second)
  const kept = await client.restore(did, false)
  assert.equal((await kept.fetchHandler('/xrpc/com.atproto.server.getSession')).status, 401)
  sessions.set(did, second)
  await assert.rejects(client.restore(did, true), TokenRefreshError)
}

test('@atproto/oauth-client-node on localhost', async (t) => {
  const alice = await stage.local.signUp('node-local')
  const redirect = `${stage.apps.origin}/node-local`
  stage.apps.serve(redirect, 'The program goes on.')
  const { client, sessions } = officialClient(stage.local, buildAtprotoLoopbackClientMetadata({ scope, redirect_uris: [redirect] }))

  await t.test('from sign-in to sign-out', async (t) => {
    const visitor = await Visitor.arrive(t)
    const url = await client.authorize(alice.session.handle, { state: 'the state' })
    await lifeOfSession(client, sessions, await visitor.allow(url, 'node-local', redirect), alice.assertDid)
  })

  await t.test('the user declines', async (t) => {
    const visitor = await Visitor.arrive(t)
    await visitor.page.goto(String(await client.authorize(stage.local.url, { state: 'the state' })))
    await visitor.follow('Sign in')
    await visitor.fill({ 'Handle or e-mail address': 'node-local' })
    await visitor.signIn('node-local')
    await visitor.press('Deny')
    await visitor.page.waitForURL((now) => now.href.startsWith(redirect))
    await assert.rejects(client.callback(new URL(visitor.page.url()).searchParams), (err) => {
      assert.ok(err instanceof OAuthCallbackError, String(err))
      assert.equal(err.params.get('error'), 'access_denied')
      assert.equal(err.state, 'the state')
      return true
    })
  })
})

test('@atproto/oauth-client-node as a server with a key', async (t) => {
  const alice = await stage.open.signUp('node-key')
  const origin = `https://atproto.${domain}`
  const key = await JoseKey.generate(['ES256'], 'key-1')
  const { client, sessions } = officialClient(
    stage.open,
    {
      client_id: `${origin}/client.json`,
      client_name: 'A server',
      client_uri: origin,
      redirect_uris: [`${origin}/callback`],
      jwks_uri: `${origin}/jwks.json`,
      scope,
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      application_type: 'web',
      token_endpoint_auth_method: 'private_key_jwt',
      token_endpoint_auth_signing_alg: 'ES256',
      dpop_bound_access_tokens: true,
    },
    { keyset: [key] },
  )
  stage.apps.serveJson(`${origin}/client.json`, client.clientMetadata)
  stage.apps.serveJson(`${origin}/jwks.json`, client.jwks)
  stage.apps.serve(`${origin}/callback`, 'The app goes on.')

  const visitor = await Visitor.arrive(t)
  const url = await client.authorize(alice.session.handle, { state: 'the state' })
  assert.equal(url.origin, stage.open.url)
  await lifeOfSession(client, sessions, await visitor.allow(url, 'node-key', `${origin}/callback`), alice.assertDid)
})

/** The client of atcute, and what its session goes through. */
async function atcute(t, name, metadata, more = {}) {
  const alice = await stage.open.signUp(name)
  const did = alice.assertDid
  const stores = { sessions: new MemoryStore(), states: new MemoryStore() }
  const client = new OAuthClient({
    metadata,
    stores,
    actorResolver: new LocalActorResolver({
      handleResolver: new XrpcHandleResolver({ serviceUrl: stage.open.url }),
      didDocumentResolver: new CompositeDidDocumentResolver({
        methods: { plc: new PlcDidDocumentResolver({ apiUrl: stage.open.plcUrl }) },
      }),
    }),
    ...more,
  })
  const [redirect] = metadata.redirect_uris
  stage.apps.serve(redirect, 'The app goes on.')
  if (metadata.client_id) stage.apps.serveJson(metadata.client_id, client.metadata)

  const visitor = await Visitor.arrive(t)
  const { url } = await client.authorize({
    target: { type: 'account', identifier: alice.session.handle },
    state: { at: 'the state' },
  })
  const callback = await visitor.allow(url, name, redirect)
  const { session, state } = await client.callback(callback.searchParams)
  assert.deepEqual(state, { at: 'the state' })
  assert.equal(session.did, did)
  const rpc = new Client({ handler: session })
  const input = { repo: did, collection: 'app.bsky.feed.post', record: post('by an app of atcute') }
  const { uri } = await ok(rpc.post('com.atproto.repo.createRecord', { input }))
  assert.match(uri, new RegExp(`^at://${did}/app.bsky.feed.post/`))

  const first = await stores.sessions.get(did)
  const renewed = await client.restore(did, { refresh: true })
  const second = await stores.sessions.get(did)
  assert.notEqual(second.tokenSet.access_token, first.tokenSet.access_token)
  await ok(new Client({ handler: renewed }).post('com.atproto.repo.createRecord', { input }))

  await renewed.signOut()
  assert.equal(await stores.sessions.get(did), undefined)
  await stores.sessions.set(did, second)
  await assert.rejects(client.restore(did, { refresh: true }), AtcuteRefreshError)
  await stores.sessions.set(did, second)
  const kept = await client.restore(did, { refresh: false })
  assert.equal((await kept.handle('/xrpc/com.atproto.server.getSession')).status, 401)
}

test('@atcute/oauth-node-client as a program', async (t) => {
  await atcute(t, 'atcute-local', { redirect_uris: [`${stage.apps.origin}/atcute-local`], scope })
})

test('@atcute/oauth-node-client as a server with a key', async (t) => {
  const origin = `https://atcute.${domain}`
  const keyset = [await generateClientAssertionKey('key-1', 'ES256')]
  await atcute(t, 'atcute-key', { client_id: `${origin}/client.json`, redirect_uris: [`${origin}/callback`], scope }, { keyset })
})
