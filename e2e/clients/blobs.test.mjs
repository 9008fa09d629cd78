// Blobs: uploaded, referred to, read back and gone with their record.

import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'

import { ComAtprotoSyncGetBlob } from '@atproto/api'

import { World, fails, until } from './world.mjs'

/** The smallest PNG there is: one transparent point. */
const png = Buffer.from(
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==',
  'base64',
)

const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex')

test('a picture in a post', async (t) => {
  const world = await World.start(t, '.test')
  const [server] = world.servers
  const alice = await server.signUp('alice')
  const did = alice.assertDid

  // The bytes count, not what the client calls them.
  const { data } = await alice.uploadBlob(png, { encoding: 'application/octet-stream' })
  assert.equal(data.blob.mimeType, 'image/png')
  assert.equal(data.blob.size, png.length)
  const cid = data.blob.ref.toString()
  assert.equal(Buffer.from(data.blob.ref.multihash.digest).toString('hex'), sha256(png))

  // Nothing refers to it yet.
  await fails(alice.com.atproto.sync.getBlob({ did, cid }), 400, ComAtprotoSyncGetBlob.BlobNotFoundError)

  const post = await alice.post({
    text: 'look',
    embed: { $type: 'app.bsky.embed.images', images: [{ alt: 'a point', image: data.blob }] },
  })
  const read = await alice.getPost({ repo: did, rkey: post.uri.split('/').pop() })
  const { image } = read.value.embed.images[0]
  assert.equal(image.ref.toString(), cid)

  const blob = await alice.com.atproto.sync.getBlob({ did, cid })
  assert.deepEqual(Buffer.from(blob.data), png)
  assert.equal(blob.headers['content-type'], 'image/png')
  assert.equal(blob.headers['x-content-type-options'], 'nosniff')
  assert.deepEqual((await alice.com.atproto.sync.listBlobs({ did })).data.cids, [cid])

  // The same bytes again, for the profile; then the post goes.
  const again = await alice.uploadBlob(png, { encoding: 'image/png' })
  assert.equal(again.data.blob.ref.toString(), cid)
  await alice.upsertProfile(() => ({ avatar: again.data.blob }))
  await alice.deletePost(post.uri)
  assert.deepEqual(Buffer.from((await alice.com.atproto.sync.getBlob({ did, cid })).data), png)
  await alice.upsertProfile(() => ({ displayName: 'without a picture' }))
  await fails(alice.com.atproto.sync.getBlob({ did, cid }), 400, ComAtprotoSyncGetBlob.BlobNotFoundError)
  assert.deepEqual((await alice.com.atproto.sync.listBlobs({ did })).data.cids, [])
})

test('blobs that are refused', async (t) => {
  const world = await World.start(t, '.test')
  const [server] = world.servers
  const alice = await server.signUp('alice')
  const bob = await server.signUp('bob')

  await t.test('a large one is taken up to the limit, not above', async () => {
    const limit = 1_000_000
    const { data } = await alice.uploadBlob(Buffer.alloc(limit, 'x'), { encoding: 'text/plain' })
    assert.equal(data.blob.size, limit)
    await fails(alice.uploadBlob(Buffer.alloc(limit + 1, 'x'), { encoding: 'text/plain' }), 413, 'PayloadTooLarge')
  })

  await t.test("somebody else's, or one that was never uploaded", async () => {
    const { data } = await alice.uploadBlob(png, { encoding: 'image/png' })
    const profile = (agent, blob) =>
      agent.com.atproto.repo.putRecord({
        repo: agent.assertDid, collection: 'app.bsky.actor.profile', rkey: 'self', record: { avatar: blob },
      })
    await fails(profile(bob, data.blob), 400, 'BlobNotFound')
    await profile(alice, data.blob)
  })

  await t.test('one of the wrong type for its place', async () => {
    const { data } = await alice.uploadBlob(Buffer.from('plain text'), { encoding: 'text/plain' })
    await fails(
      alice.com.atproto.repo.putRecord({
        repo: alice.assertDid, collection: 'app.bsky.actor.profile', rkey: 'self', record: { avatar: data.blob },
      }),
      400,
      'InvalidRequest',
    )
  })

  await t.test('without a session', async () => {
    await fails(server.agent().uploadBlob(png, { encoding: 'image/png' }), 401, 'AuthMissing')
  })
})

test('many blobs in pages', async (t) => {
  const world = await World.start(t, '.test')
  const [server] = world.servers
  const alice = await server.signUp('alice')
  const want = []
  for (let i = 0; i < 25; i++) {
    const { data } = await alice.uploadBlob(Buffer.from(`blob ${i}`), { encoding: 'text/plain' })
    want.push(data.blob.ref.toString())
    await alice.com.atproto.repo.createRecord({
      repo: alice.assertDid, collection: 'com.example.file', record: { file: data.blob },
    })
  }
  const got = []
  for (let cursor; ; ) {
    const { data } = await alice.com.atproto.sync.listBlobs({ did: alice.assertDid, limit: 10, cursor })
    got.push(...data.cids)
    cursor = data.cursor
    if (!cursor || data.cids.length === 0) break
  }
  assert.deepEqual(got, want.toSorted())
  await until('nothing is missing', async () => {
    const { data } = await alice.com.atproto.repo.listMissingBlobs({})
    return data.blobs.length === 0
  })
})
