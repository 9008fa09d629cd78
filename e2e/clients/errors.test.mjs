// Errors by the classes and names that clients act on.

import assert from 'node:assert/strict'
import { test } from 'node:test'

import {
  ComAtprotoRepoApplyWrites, ComAtprotoRepoCreateRecord, ComAtprotoRepoDeleteRecord, ComAtprotoRepoGetRecord,
  ComAtprotoRepoPutRecord,
} from '@atproto/api'

import { World, adminHeaders, fails } from './world.mjs'

const posts = 'app.bsky.feed.post'
const createdAt = '2026-01-02T03:04:05.678Z'

test('writes that are refused', async (t) => {
  const world = await World.start(t, '.test')
  const [server] = world.servers
  const alice = await server.signUp('alice')
  const repo = alice.assertDid
  const api = alice.com.atproto.repo
  const first = await alice.post({ text: 'first' })
  const rkey = first.uri.split('/').pop()
  const { data: head } = await alice.com.atproto.sync.getLatestCommit({ did: repo })
  const record = { text: 'a post', createdAt }

  await t.test('swaps', async () => {
    const swapCommit = first.cid // the CID of something else
    await fails(api.createRecord({ repo, collection: posts, record, swapCommit }), 400, ComAtprotoRepoCreateRecord.InvalidSwapError)
    await fails(api.putRecord({ repo, collection: posts, rkey, record, swapCommit }), 400, ComAtprotoRepoPutRecord.InvalidSwapError)
    await fails(api.putRecord({ repo, collection: posts, rkey, record, swapRecord: head.cid }), 400, ComAtprotoRepoPutRecord.InvalidSwapError)
    await fails(api.putRecord({ repo, collection: posts, rkey, record, swapRecord: null }), 400, ComAtprotoRepoPutRecord.InvalidSwapError)
    await fails(api.deleteRecord({ repo, collection: posts, rkey, swapCommit }), 400, ComAtprotoRepoDeleteRecord.InvalidSwapError)
    await fails(api.deleteRecord({ repo, collection: posts, rkey, swapRecord: head.cid }), 400, ComAtprotoRepoDeleteRecord.InvalidSwapError)
    const writes = [{ $type: 'com.atproto.repo.applyWrites#delete', collection: posts, rkey }]
    await fails(api.applyWrites({ repo, writes, swapCommit }), 400, ComAtprotoRepoApplyWrites.InvalidSwapError)
    await api.putRecord({ repo, collection: posts, rkey, record, swapCommit: head.cid, swapRecord: first.cid })
  })

  await t.test('records that do not match their schema', async () => {
    const create = (input) => api.createRecord({ repo, collection: posts, record, ...input })
    await fails(create({ record: { text: 'no date' } }), 400, 'InvalidRequest')
    await fails(create({ record: { text: 'x'.repeat(3001), createdAt } }), 400, 'InvalidRequest')
    await fails(create({ record: { ...record, createdAt: 'yesterday' } }), 400, 'InvalidRequest')
    await fails(create({ record: { ...record, $type: 'app.bsky.feed.like' } }), 400, 'InvalidRequest')
    await fails(create({ record: { ...record, fraction: 1.5 } }), 400, 'InvalidRequest')
    await fails(create({ rkey: 'not a key' }), 400, 'InvalidRequest')
    await fails(create({ rkey: 'not-a-tid' }), 400, 'InvalidRequest')
    await fails(create({ collection: 'com.example.note', validate: true }), 400, 'InvalidRequest')
    await fails(create({ rkey }), 400, 'InvalidRequest') // there already
    const { data } = await create({})
    assert.equal(data.validationStatus, 'valid')
  })

  await t.test('batches', async () => {
    const create = (i) => ({
      $type: 'com.atproto.repo.applyWrites#create', collection: 'com.example.note', rkey: `n${i}`, value: { i },
    })
    const many = Array.from({ length: 201 }, (_, i) => create(i))
    await fails(api.applyWrites({ repo, writes: many }), 400, 'InvalidRequest')
    const missing = { $type: 'com.atproto.repo.applyWrites#update', collection: 'com.example.note', rkey: 'nowhere', value: {} }
    await fails(api.applyWrites({ repo, writes: [create(0), missing] }), 400, 'InvalidRequest')
    // All or nothing.
    assert.deepEqual((await api.listRecords({ repo, collection: 'com.example.note' })).data.records, [])
    await fails(
      api.createRecord({ repo, collection: 'com.example.note', record: { text: 'x'.repeat(1_000_000) } }), 413, 'PayloadTooLargeError',
    )
  })

  await t.test('deleting what is not there is no error', async () => {
    const { data } = await api.deleteRecord({ repo, collection: posts, rkey: '3jui7kd54zh2y' })
    assert.equal(data.commit, undefined)
  })
})

test('reads and methods that are refused', async (t) => {
  const world = await World.start(t, '.test')
  const [server] = world.servers
  const alice = await server.signUp('alice')
  const repo = alice.assertDid
  const { com, app } = alice
  const post = await alice.post({ text: 'first' })
  const rkey = post.uri.split('/').pop()

  const getRecord = (more) => com.atproto.repo.getRecord({ repo, collection: posts, rkey, ...more })
  assert.equal((await getRecord({ cid: post.cid })).data.uri, post.uri)
  await fails(getRecord({ rkey: 'nowhere' }), 400, ComAtprotoRepoGetRecord.RecordNotFoundError)
  await fails(
    getRecord({ cid: 'bafyreie5737gdxlw5i64vzichcalba3z2v5n6icifvx5xytvske7mr3hpm' }), 400, ComAtprotoRepoGetRecord.RecordNotFoundError,
  )
  await fails(getRecord({ collection: 'not a name' }), 400, 'InvalidRequest')
  await fails(com.atproto.repo.listRecords({ repo, collection: posts, limit: 101 }), 400, 'InvalidRequest')
  await fails(com.atproto.repo.listRecords({ repo: 'nobody.test', collection: posts }), 400, 'InvalidRequest')

  // Not of a PDS, and no service to pass them on to.
  await fails(com.atproto.sync.listReposByCollection({ collection: posts }), 501, 'MethodNotImplemented')
  await assert.rejects(app.bsky.feed.getTimeline(), (err) => err.status === 400 || err.status === 501)
  assert.equal((await fetch(`${server.url}/xrpc/com.atproto.repo.createRecord`)).status, 400)
  assert.equal((await fetch(`${server.url}/nowhere`)).status, 404)

  const admin = (headers) =>
    server.agent().com.atproto.admin.getSubjectStatus({ did: repo }, { headers })
  await fails(admin({}), 401, 'AuthMissing')
  await fails(admin({ authorization: `Basic ${btoa('admin:wrong')}` }), 401, 'AuthenticationRequired')
  await fails(admin({ authorization: `Bearer ${alice.session.accessJwt}` }), 401, 'BadJwtType') // moderators use service tokens
  assert.equal((await admin(adminHeaders)).data.takedown.applied, false)

  const auth = (input) => com.atproto.server.getServiceAuth({ aud: 'did:web:api.example.com', ...input })
  const soon = Math.floor(Date.now() / 1000)
  await fails(auth({ exp: soon - 10 }), 400, 'BadExpiration')
  await fails(auth({ exp: soon + 4000, lxm: 'com.example.method' }), 400, 'BadExpiration')
  await fails(auth({ exp: soon + 120 }), 400, 'BadExpiration')
  await fails(auth({ lxm: 'com.atproto.server.deactivateAccount' }), 400, 'InvalidRequest')
  await fails(auth({ aud: 'nonsense' }), 400, 'InvalidRequest')
})
