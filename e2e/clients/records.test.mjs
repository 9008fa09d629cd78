// Records through the agent, and what a consumer of the firehose gets of them.

import assert from 'node:assert/strict'
import { test } from 'node:test'

import { cidForRecord } from '@atproto/repo'

import { Follower, World, creation, pathOf, until } from './world.mjs'

const posts = 'app.bsky.feed.post'

test('a person posts, likes, follows and takes things back', async (t) => {
  const world = await World.start(t, '.test')
  const [server] = world.servers
  const follower = new Follower(t, world, server)
  const alice = await server.signUp('alice')
  const bob = await server.signUp('bob')
  const start = {}
  for (const agent of [alice, bob]) {
    start[agent.assertDid] = (await agent.com.atproto.sync.getLatestCommit({ did: agent.assertDid })).data
  }

  const expected = { [alice.assertDid]: [], [bob.assertDid]: [] }
  const expect = (agent, action, { uri, cid }) =>
    expected[agent.assertDid].push(action === 'delete' ? `delete ${pathOf(uri)}` : `${action} ${pathOf(uri)} ${cid}`)

  const first = await alice.post({ text: 'Hello, world! 👋', langs: ['en'] })
  expect(alice, 'create', first)
  const reply = await bob.post({ text: 'Hello!', reply: { root: first, parent: first } })
  expect(bob, 'create', reply)
  const like = await bob.like(first.uri, first.cid)
  expect(bob, 'create', like)
  const repost = await bob.repost(first.uri, first.cid)
  expect(bob, 'create', repost)
  const follow = await bob.follow(alice.assertDid)
  expect(bob, 'create', follow)

  // A second like of the same post takes the place of the first.
  const again = await bob.like(first.uri, first.cid)
  expect(bob, 'create', again)
  expect(bob, 'delete', like)
  // Both are one commit, whose operations have no order among them.
  expected[bob.assertDid].splice(-2, 2, ...expected[bob.assertDid].slice(-2).sort(byPath))

  await bob.deleteLike(again.uri)
  expect(bob, 'delete', again)
  await bob.deleteRepost(repost.uri)
  expect(bob, 'delete', repost)
  await bob.deleteFollow(follow.uri)
  expect(bob, 'delete', follow)
  await bob.deletePost(reply.uri)
  expect(bob, 'delete', reply)

  await t.test('what is there can be read', async () => {
    const { uri, cid, value } = await bob.getPost({ repo: alice.assertDid, rkey: first.uri.split('/').pop() })
    assert.deepEqual([uri, cid, value.text, value.langs], [first.uri, first.cid, 'Hello, world! 👋', ['en']])
    const { data } = await bob.com.atproto.repo.getRecord({
      repo: alice.session.handle, collection: posts, rkey: first.uri.split('/').pop(),
    })
    assert.equal(data.cid, first.cid)
    assert.equal(data.value.$type, posts)
    const described = await alice.com.atproto.repo.describeRepo({ repo: alice.session.handle })
    assert.deepEqual(described.data.collections, [posts])
    assert.equal(described.data.handleIsCorrect, true)
    const empty = await alice.com.atproto.repo.describeRepo({ repo: bob.assertDid })
    assert.deepEqual(empty.data.collections, [])
  })

  await t.test('the firehose has it all in order', async () => {
    for (const agent of [alice, bob]) {
      const want = [...creation(agent.session.handle, start[agent.assertDid]), ...expected[agent.assertDid]]
      assert.deepEqual(await follower.of(agent.assertDid, want.length), want)
    }
    const { record } = follower.events.find((evt) => evt.event === 'create')
    assert.equal(record.text, 'Hello, world! 👋')
    const seqs = follower.events.map((evt) => evt.seq)
    assert.deepEqual(seqs, seqs.toSorted((a, b) => a - b))
  })

  await t.test('a consumer that comes late gets the same', async () => {
    const late = new Follower(t, world, server)
    for (const agent of [alice, bob]) {
      const want = await follower.of(agent.assertDid, 0)
      assert.deepEqual(await late.of(agent.assertDid, want.length), want)
    }
  })
})

const byPath = (a, b) => (a.split(' ')[1] < b.split(' ')[1] ? -1 : 1)

test('batches, lists, profiles and values of all kinds', async (t) => {
  const world = await World.start(t, '.test')
  const [server] = world.servers
  const follower = new Follower(t, world, server)
  const alice = await server.signUp('alice')
  const repo = alice.assertDid
  const start = (await alice.com.atproto.sync.getLatestCommit({ did: repo })).data
  const expected = creation('alice.test', start)
  const notes = 'com.example.note' // nobody has its schema

  await t.test('a batch is one commit', async () => {
    const create = (i) => ({
      $type: 'com.atproto.repo.applyWrites#create', collection: notes, rkey: `note-${String(i).padStart(3, '0')}`,
      value: { text: `note ${i}`, n: i, nested: { list: [1, 'two', null, true] } },
    })
    const { data } = await alice.com.atproto.repo.applyWrites({
      repo, writes: Array.from({ length: 200 }, (_, i) => create(i)),
    })
    assert.equal(data.results.length, 200)
    assert.equal(data.results[0].validationStatus, 'unknown')
    for (const { uri, cid } of data.results) expected.push(`create ${pathOf(uri)} ${cid}`)
    const head = await alice.com.atproto.sync.getLatestCommit({ did: repo })
    assert.deepEqual({ cid: head.data.cid, rev: head.data.rev }, data.commit)

    const mixed = await alice.com.atproto.repo.applyWrites({
      repo,
      writes: [
        { $type: 'com.atproto.repo.applyWrites#update', collection: notes, rkey: 'note-000', value: { text: 'changed' } },
        { $type: 'com.atproto.repo.applyWrites#delete', collection: notes, rkey: 'note-001' },
        create(200),
      ],
    })
    expected.push(`update ${notes}/note-000 ${mixed.data.results[0].cid}`)
    expected.push(`delete ${notes}/note-001`)
    expected.push(`create ${notes}/note-200 ${mixed.data.results[2].cid}`)
  })

  await t.test('pages of a list', async () => {
    const read = async (reverse) => {
      const rkeys = []
      for (let cursor; ; ) {
        const { data } = await alice.com.atproto.repo.listRecords({ repo, collection: notes, limit: 60, cursor, reverse })
        rkeys.push(...data.records.map((r) => r.uri.split('/').pop()))
        if (!data.cursor) return rkeys
        cursor = data.cursor
      }
    }
    const newest = await read(false)
    assert.equal(newest.length, 200)
    assert.deepEqual(newest, newest.toSorted().reverse())
    assert.deepEqual(await read(true), newest.toReversed())
  })

  await t.test('a profile is made and changed', async () => {
    const read = async () => (await alice.com.atproto.repo.getRecord({
      repo, collection: 'app.bsky.actor.profile', rkey: 'self',
    })).data
    await alice.upsertProfile((existing) => ({ ...existing, displayName: 'Alice' }))
    expected.push(`create app.bsky.actor.profile/self ${(await read()).cid}`)
    await alice.upsertProfile((existing) => ({ ...existing, description: 'Someone' }))
    const { cid, value } = await read()
    expected.push(`update app.bsky.actor.profile/self ${cid}`)
    assert.deepEqual(value, { $type: 'app.bsky.actor.profile', displayName: 'Alice', description: 'Someone' })

    // The same again changes nothing.
    const { data } = await alice.com.atproto.repo.putRecord({
      repo, collection: 'app.bsky.actor.profile', rkey: 'self', record: value, swapRecord: cid,
    })
    assert.equal(data.cid, cid)
    assert.equal(data.commit, undefined)
  })

  await t.test('all kinds of values come back as they were', async () => {
    const record = {
      $type: notes, text: 'a\u0000b "quoted" \\ ünïcödé 🏳️‍🌈', big: Number.MAX_SAFE_INTEGER, small: Number.MIN_SAFE_INTEGER,
      zero: 0, yes: true, nothing: null, list: [[], {}, [[]]], map: { '': 'empty', 'a.b/c': 1, zz: 1, b: 2, aaa: 3 },
    }
    const { data } = await alice.com.atproto.repo.createRecord({ repo, collection: notes, record })
    expected.push(`create ${pathOf(data.uri)} ${data.cid}`)
    const back = await alice.com.atproto.repo.getRecord({ repo, collection: notes, rkey: data.uri.split('/').pop() })
    assert.deepEqual(back.data.value, record)
    assert.equal(data.cid, (await cidForRecord(record)).toString())
  })

  await t.test('the firehose has it all in order', async () => {
    const got = await follower.of(repo, expected.length)
    // Operations of one commit have no order among them.
    const settle = (list) => [...list.slice(0, 3), ...list.slice(3, 203).sort(), ...list.slice(203, 206).sort(), ...list.slice(206)]
    assert.deepEqual(settle(got), settle(expected))
  })

  await t.test('a restart loses nothing, and the consumer goes on', async () => {
    await server.halt()
    await server.run()
    const { uri, cid } = await alice.post({ text: 'after the restart' })
    expected.push(`create ${pathOf(uri)} ${cid}`)
    await until('the consumer is back', () => follower.events.some((evt) => evt.cid?.toString() === cid))
    follower.errors = [] // of the lost connection
    assert.equal((await follower.of(repo, expected.length)).length, expected.length)
  })
})
