// Sessions as clients keep them, app passwords and preferences.

import assert from 'node:assert/strict'
import { test } from 'node:test'

import { ComAtprotoServerRefreshSession } from '@atproto/api'

import { World, fails, passwordOf } from './world.mjs'

test('a session is kept, renewed and ended by the client', async (t) => {
  const world = await World.start(t, '.test')
  const [server] = world.servers
  await server.signUp('alice')
  const seen = []
  const agent = server.agent({ persistSession: (event) => seen.push(event) })

  for (const identifier of ['alice.test', 'Alice.TEST', 'alice@example.com', 'Alice@Example.com']) {
    await agent.login({ identifier, password: passwordOf('alice') })
    assert.equal(agent.session.handle, 'alice.test')
  }
  await agent.login({ identifier: agent.assertDid, password: passwordOf('alice') })
  assert.equal(agent.session.email, 'alice@example.com')
  assert.equal(agent.session.emailConfirmed, false)
  assert.equal(agent.session.active, true)
  assert.equal(agent.pdsUrl.origin, server.url) // from the DID document

  await t.test('an expired token is renewed behind the scenes', async () => {
    seen.length = 0
    const before = { ...agent.session }
    agent.sessionManager.session.accessJwt = server.expiredToken(agent.assertDid)
    const { data } = await agent.com.atproto.server.getSession()
    assert.equal(data.did, agent.assertDid)
    assert.deepEqual(seen, ['update'])
    assert.notEqual(agent.session.refreshJwt, before.refreshJwt)
  })

  await t.test('many calls at once renew it together', async () => {
    agent.sessionManager.session.accessJwt = server.expiredToken(agent.assertDid)
    const posts = await Promise.all(Array.from({ length: 10 }, (_, i) => agent.post({ text: `at once ${i}` })))
    assert.equal(new Set(posts.map((p) => p.uri)).size, 10)
  })

  await t.test('a stored session is resumed', async () => {
    const other = server.agent()
    await other.resumeSession({ ...agent.session })
    assert.equal(other.session.handle, 'alice.test')
    await other.post({ text: 'resumed' })
  })

  await t.test('renewals that race lead to one session', async () => {
    const { refreshJwt } = agent.session
    const renew = () =>
      server.agent().com.atproto.server.refreshSession(undefined, { headers: { authorization: `Bearer ${refreshJwt}` } })
    const renewed = await Promise.all(Array.from({ length: 5 }, renew))
    const ids = renewed.map(({ data }) => JSON.parse(Buffer.from(data.refreshJwt.split('.')[1], 'base64url')).jti)
    assert.equal(new Set(ids).size, 1)
  })

  await t.test('signing out ends it', async () => {
    seen.length = 0
    await agent.sessionManager.refreshSession()
    const session = { ...agent.session }
    await agent.logout()
    const other = server.agent({ persistSession: (event) => seen.push(event) })
    seen.length = 0
    await fails(
      server.agent().com.atproto.server.refreshSession(undefined, { headers: { authorization: `Bearer ${session.refreshJwt}` } }),
      400,
      ComAtprotoServerRefreshSession.ExpiredTokenError,
    )
    await assert.rejects(other.resumeSession({ ...session, accessJwt: server.expiredToken(session.did) }))
    assert.deepEqual(seen, ['expired'])
  })
})

test('credentials that are refused', async (t) => {
  const world = await World.start(t, '.test')
  const [server] = world.servers
  const alice = await server.signUp('alice')
  const bob = await server.signUp('bob')
  const login = (identifier, password) => server.agent().login({ identifier, password })
  await fails(login('alice.test', 'wrong'), 401, 'AuthenticationRequired')
  await fails(login('nobody.test', 'wrong'), 401, 'AuthenticationRequired')

  const getSession = (authorization) => server.agent().com.atproto.server.getSession(undefined, { headers: { authorization } })
  await fails(server.agent().com.atproto.server.getSession(), 401, 'AuthMissing')
  await fails(getSession('Bearer nonsense'), 400, 'InvalidToken')
  await fails(getSession(`Bearer ${alice.session.refreshJwt}`), 400, 'InvalidToken')
  await fails(getSession(`Bearer ${server.expiredToken(alice.assertDid)}`), 400, 'ExpiredToken')
  await fails(
    server.agent().com.atproto.server.refreshSession(undefined, { headers: { authorization: `Bearer ${alice.session.accessJwt}` } }),
    400,
    ComAtprotoServerRefreshSession.InvalidTokenError,
  )

  // Of one account against another.
  const record = { text: 'not mine', createdAt: new Date().toISOString() }
  await fails(
    alice.com.atproto.repo.createRecord({ repo: bob.assertDid, collection: 'app.bsky.feed.post', record }),
    401,
    'AuthenticationRequired',
  )
})

test('app passwords', async (t) => {
  const world = await World.start(t, '.test')
  const [server] = world.servers
  const alice = await server.signUp('alice')
  const { data: plain } = await alice.com.atproto.server.createAppPassword({ name: 'plain' })
  const { data: privileged } = await alice.com.atproto.server.createAppPassword({ name: 'chats', privileged: true })
  assert.match(plain.password, /^[a-z2-7]{4}(-[a-z2-7]{4}){3}$/)
  await fails(alice.com.atproto.server.createAppPassword({ name: 'plain' }), 400, 'InvalidRequest')

  const app = server.agent()
  await app.login({ identifier: 'alice.test', password: plain.password })
  await app.post({ text: 'by the app' })
  await app.sessionManager.refreshSession()
  await app.post({ text: 'by the app, later' })
  await fails(app.com.atproto.server.createAppPassword({ name: 'another' }), 400, 'InvalidToken')
  await fails(app.com.atproto.server.deactivateAccount({}), 400, 'InvalidToken')

  const auth = (agent, lxm) => agent.com.atproto.server.getServiceAuth({ aud: 'did:web:chat.example.com', lxm })
  await fails(auth(app, 'chat.bsky.convo.listConvos'), 400, 'InvalidRequest')
  const chats = server.agent()
  await chats.login({ identifier: 'alice.test', password: privileged.password })
  await auth(chats, 'chat.bsky.convo.listConvos')

  const { data: list } = await alice.com.atproto.server.listAppPasswords()
  assert.deepEqual(list.passwords.map((p) => [p.name, p.privileged ?? false]), [['chats', true], ['plain', false]])
  await alice.com.atproto.server.revokeAppPassword({ name: 'plain' })
  await fails(app.sessionManager.refreshSession(), 400, 'ExpiredToken')
  await fails(server.agent().login({ identifier: 'alice.test', password: plain.password }), 401, 'AuthenticationRequired')
})

test('preferences', async (t) => {
  const world = await World.start(t, '.test')
  const [server] = world.servers
  const alice = await server.signUp('alice')
  assert.equal((await alice.getPreferences()).moderationPrefs.adultContentEnabled, false)

  await alice.setAdultContentEnabled(true)
  await alice.setContentLabelPref('nudity', 'warn')
  await alice.addMutedWord({ value: 'spoiler', targets: ['content'], actorTarget: 'all' })
  await alice.overwriteSavedFeeds([{ id: '3l2zpbbhuvw2o', type: 'timeline', value: 'following', pinned: true }])
  await alice.setPersonalDetails({ birthDate: '1990-01-02T00:00:00.000Z' })
  await alice.setInterestsPref({ tags: ['go', 'protocols'] })

  const check = async (agent, birthDate) => {
    const got = await agent.getPreferences()
    assert.equal(got.moderationPrefs.adultContentEnabled, true)
    assert.equal(got.moderationPrefs.labels.nudity, 'warn')
    assert.deepEqual(got.moderationPrefs.mutedWords.map((w) => w.value), ['spoiler'])
    assert.deepEqual(got.savedFeeds.map((f) => f.value), ['following'])
    assert.deepEqual(got.interests.tags, ['go', 'protocols'])
    assert.equal(got.birthDate?.toISOString(), birthDate)
  }
  await check(alice, '1990-01-02T00:00:00.000Z')

  // An app with its own password sees them, but for the personal details.
  const { data } = await alice.com.atproto.server.createAppPassword({ name: 'app' })
  const app = server.agent()
  await app.login({ identifier: 'alice.test', password: data.password })
  await check(app, undefined)
  await app.setThreadViewPrefs({ sort: 'newest' })
  await check(alice, '1990-01-02T00:00:00.000Z')

  const put = (preferences) => alice.app.bsky.actor.putPreferences({ preferences })
  await fails(put([{ $type: 'com.example.pref' }]), 400, 'InvalidRequest')
})
