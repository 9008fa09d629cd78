// Exports and proofs, verified by @atproto/repo with the key that
// @atproto/identity finds in the DID document.

import assert from 'node:assert/strict'
import { test } from 'node:test'

import {
  ComAtprotoSyncGetBlocks, ComAtprotoSyncGetLatestCommit, ComAtprotoSyncGetRepo, ComAtprotoSyncGetRepoStatus,
} from '@atproto/api'
import { Secp256k1Keypair } from '@atproto/crypto'
import {
  MemoryBlockstore, Repo, cidForRecord, readCar, readCarWithRoot, verifyDiffCar, verifyProofs, verifyRecords,
  verifyRepoCar,
} from '@atproto/repo'
import { CID } from 'multiformats/cid'

import { World, fails } from './world.mjs'

const notes = 'com.example.note'

test('exports and proofs verify', async (t) => {
  const world = await World.start(t, '.test')
  const [server] = world.servers
  const alice = await server.signUp('alice')
  const did = alice.assertDid
  const { sync, repo } = alice.com.atproto
  const key = await world.resolver.did.resolveAtprotoKey(did)

  const getRepo = async (since) => (await sync.getRepo({ did, since })).data
  /** What an export holds, as path to CID. */
  const contents = (creates) =>
    Object.fromEntries(creates.map((c) => [`${c.collection}/${c.rkey}`, c.cid.toString()]))
  /** What the server lists. */
  const listed = async () => {
    const out = {}
    for (const collection of (await repo.describeRepo({ repo: did })).data.collections) {
      for (let cursor; ; ) {
        const { data } = await repo.listRecords({ repo: did, collection, limit: 100, cursor })
        for (const r of data.records) out[r.uri.split('/').slice(3).join('/')] = r.cid
        if (!data.cursor) break
        cursor = data.cursor
      }
    }
    return out
  }

  await t.test('of an empty repository', async () => {
    const { creates, commit } = await verifyRepoCar(await getRepo(), did, key)
    assert.deepEqual(creates, [])
    const { data } = await sync.getLatestCommit({ did })
    assert.deepEqual([commit.cid.toString(), commit.rev], [data.cid, data.rev])
  })

  for (let batch = 0; batch < 3; batch++) {
    await repo.applyWrites({
      repo: did,
      writes: Array.from({ length: 200 }, (_, i) => ({
        $type: 'com.atproto.repo.applyWrites#create', collection: notes, rkey: `note-${batch * 200 + i}`,
        value: { text: `note ${batch * 200 + i}` },
      })),
    })
  }
  for (let i = 0; i < 20; i++) await alice.post({ text: `post ${i}` })
  await repo.deleteRecord({ repo: did, collection: notes, rkey: 'note-7' })

  const whole = await getRepo()
  await t.test('of a repository of some size', async () => {
    const { creates, commit } = await verifyRepoCar(whole, did, key)
    assert.equal(creates.length, 619)
    assert.deepEqual(contents(creates), await listed())
    assert.equal(commit.rev, (await sync.getLatestCommit({ did })).data.rev)
    // Nothing else is in it, and nothing twice.
    const { root, blocks } = await readCarWithRoot(whole)
    assert.equal(root.toString(), commit.cid.toString())
    assert.equal(blocks.size, commit.newBlocks.size)
    assert.equal((await alice.com.atproto.server.checkAccountStatus()).data.repoBlocks, blocks.size)
    await assert.rejects(verifyRepoCar(whole, did, (await Secp256k1Keypair.create()).did()), /Invalid signature/)
  })

  await t.test('since a revision', async () => {
    const { root, blocks } = await readCarWithRoot(whole)
    const before = await Repo.load(new MemoryBlockstore(blocks), root)
    const post = await alice.post({ text: 'later' })
    await repo.putRecord({ repo: did, collection: notes, rkey: 'note-8', record: { text: 'changed' } })
    await repo.deleteRecord({ repo: did, collection: notes, rkey: 'note-9' })
    const diff = await verifyDiffCar(before, await getRepo(before.commit.rev), did, key)
    const writes = diff.writes.map((w) => `${w.action} ${w.collection}/${w.rkey}`).sort()
    assert.deepEqual(writes, [
      `create app.bsky.feed.post/${post.uri.split('/').pop()}`, `delete ${notes}/note-9`, `update ${notes}/note-8`,
    ])
    assert.equal(diff.commit.rev, (await sync.getLatestCommit({ did })).data.rev)
  })

  await t.test('of single records, there or not', async () => {
    const proof = async (rkey) => (await sync.getRecord({ did, collection: notes, rkey })).data
    for (const rkey of ['note-0', 'note-8', 'note-599']) {
      const { data } = await repo.getRecord({ repo: did, collection: notes, rkey })
      const claims = [{ collection: notes, rkey, cid: CID.parse(data.cid) }]
      const { verified, unverified } = await verifyProofs(await proof(rkey), claims, did, key)
      assert.deepEqual([verified.length, unverified.length], [1, 0])
      const records = await verifyRecords(await proof(rkey), did, key)
      assert.deepEqual(records.find((r) => r.rkey === rkey).record, data.value)
    }
    for (const rkey of ['note-9', 'never']) {
      const claims = [{ collection: notes, rkey, cid: null }]
      const { verified, unverified } = await verifyProofs(await proof(rkey), claims, did, key)
      assert.deepEqual([verified.length, unverified.length], [1, 0])
    }
  })

  await t.test('of single blocks', async () => {
    const { data: head } = await sync.getLatestCommit({ did })
    const { data: record } = await repo.getRecord({ repo: did, collection: notes, rkey: 'note-0' })
    const { blocks } = await readCar((await sync.getBlocks({ did, cids: [head.cid, record.cid] })).data)
    assert.deepEqual(blocks.entries().map((b) => b.cid.toString()).sort(), [head.cid, record.cid].sort())
    await fails(sync.getBlocks({ did, cids: [head.cid, (await cidForRecord({ text: 'nowhere' })).toString()] }), 400, ComAtprotoSyncGetBlocks.BlockNotFoundError)
  })
})

test('lists and states of repositories', async (t) => {
  const world = await World.start(t, '.test')
  const [server] = world.servers
  const agents = []
  for (let i = 0; i < 7; i++) agents.push(await server.signUp(`user${i}`))
  const gone = agents[3]
  await gone.com.atproto.server.deactivateAccount({})
  const { sync } = server.agent().com.atproto

  const repos = []
  for (let cursor; ; ) {
    const { data } = await sync.listRepos({ limit: 3, cursor })
    repos.push(...data.repos)
    if (!data.cursor) break
    cursor = data.cursor
  }
  assert.deepEqual(repos.map((r) => r.did), agents.map((a) => a.assertDid))
  for (const r of repos) {
    assert.equal(r.active, r.did !== gone.assertDid)
    assert.equal(r.status, r.active ? undefined : 'deactivated')
    if (r.active) {
      const { data } = await sync.getLatestCommit({ did: r.did })
      assert.deepEqual([r.head, r.rev], [data.cid, data.rev])
    }
  }
  const { data: status } = await sync.getRepoStatus({ did: gone.assertDid })
  assert.deepEqual(status, { did: gone.assertDid, active: false, status: 'deactivated' })
  await fails(sync.getRepo({ did: gone.assertDid }), 400, ComAtprotoSyncGetRepo.RepoDeactivatedError)
  await fails(sync.getLatestCommit({ did: gone.assertDid }), 400, ComAtprotoSyncGetLatestCommit.RepoDeactivatedError)
  const nobody = 'did:plc:aaaaaaaaaaaaaaaaaaaaaaaa'
  await fails(sync.getRepo({ did: nobody }), 400, ComAtprotoSyncGetRepo.RepoNotFoundError)
  await fails(sync.getRepoStatus({ did: nobody }), 400, ComAtprotoSyncGetRepoStatus.RepoNotFoundError)
  // The owner still gets it.
  const { data: own } = await gone.com.atproto.sync.getRepo({ did: gone.assertDid })
  await verifyRepoCar(own, gone.assertDid, await world.resolver.did.resolveAtprotoKey(gone.assertDid))
})
