// An account moves from one server to another as its owner would move it, with
// nothing but the clients and a rotation key of its own.

import assert from 'node:assert/strict'
import { test } from 'node:test'

import { AtUri, ComAtprotoSyncGetRepo } from '@atproto/api'
import { Secp256k1Keypair } from '@atproto/crypto'
import plc from '@did-plc/lib'

import { copyBlobs, copyPreferences, exported, importRepo, listAll, missingBlobs } from './move.mjs'
import { Follower, World, fails, passwordOf } from './world.mjs'

test('an account moves to another server', async (t) => {
  const world = await World.start(t, '.old.test', '.new.test')
  const [oldServer, newServer] = world.servers
  const rotation = await Secp256k1Keypair.create()
  const oldAgent = await oldServer.signUp('alice', { recoveryKey: rotation.did() })
  const bob = await oldServer.signUp('bob')
  const did = oldAgent.assertDid
  const newAgent = newServer.agent()

  // Something to take along.
  const blobs = []
  for (let i = 0; i < 12; i++) {
    const { data } = await oldAgent.uploadBlob(Buffer.from(`<svg>${i}</svg>`), { encoding: 'image/svg+xml' })
    blobs.push(data.blob)
    await oldAgent.com.atproto.repo.createRecord({
      repo: did, collection: 'com.example.drawing', record: { title: `drawing ${i}`, file: data.blob },
    })
  }
  const { blob: avatar } = (await oldAgent.uploadBlob(Buffer.from('picture'), { encoding: 'image/png' })).data
  await oldAgent.upsertProfile(() => ({ displayName: 'Alice', avatar }))
  await oldAgent.follow(bob.assertDid)
  for (let i = 0; i < 150; i++) await oldAgent.post({ text: `post ${i}` })
  await oldAgent.setAdultContentEnabled(true)
  await oldAgent.addMutedWord({ value: 'spoiler', targets: ['content'], actorTarget: 'all' })
  const before = (await oldAgent.com.atproto.server.checkAccountStatus()).data
  const posts = await listAll(oldAgent, did, 'app.bsky.feed.post')
  const follower = new Follower(t, world, newServer)

  await t.test('the new server does not take the identity without its word', async () => {
    const signUp = (headers) =>
      newServer.agent().com.atproto.server.createAccount(
        { did, handle: 'alice.new.test', email: 'alice@example.com', password: passwordOf('alice') },
        { headers, encoding: 'application/json' },
      )
    await fails(signUp({}), 401, 'AuthenticationRequired')
    const token = async (agent, aud, lxm) =>
      `Bearer ${(await agent.com.atproto.server.getServiceAuth({ aud, lxm })).data.token}`
    const nsid = 'com.atproto.server.createAccount'
    await fails(signUp({ authorization: await token(oldAgent, 'did:web:other.example.com', nsid) }), 401, 'BadJwtAudience')
    await fails(
      signUp({ authorization: await token(oldAgent, newServer.did, 'com.atproto.repo.uploadBlob') }), 401, 'BadJwtLexiconMethod',
    )
    await fails(signUp({ authorization: await token(bob, newServer.did, nsid) }), 401, 'AuthenticationRequired')

    const { data } = await signUp({ authorization: await token(oldAgent, newServer.did, nsid) })
    assert.equal(data.did, did)
    await newAgent.login({ identifier: did, password: passwordOf('alice') })
    assert.deepEqual([newAgent.session.active, newAgent.session.status], [false, 'deactivated'])
  })
  // The DID document still names the old server.
  newAgent.sessionManager.pdsUrl = new URL(newServer.url)

  const status = async () => (await newAgent.com.atproto.server.checkAccountStatus()).data

  await t.test('a new account is empty', async () => {
    const got = await status()
    assert.deepEqual(
      [got.activated, got.validDid, got.repoBlocks, got.indexedRecords, got.expectedBlobs, got.importedBlobs],
      [false, false, 2, 0, 0, 0],
    )
  })

  await t.test('the repository', async () => {
    const bobs = await bob.com.atproto.sync.getRepo({ did: bob.assertDid })
    await fails(importRepo(newAgent, bobs.data), 400, 'InvalidRequest')
    const { data: car } = await oldAgent.com.atproto.sync.getRepo({ did })
    await fails(importRepo(newAgent, car.slice(0, car.length - 10)), 400, 'InvalidRequest')
    const damaged = car.slice()
    damaged[damaged.length - 5] ^= 1
    await fails(importRepo(newAgent, damaged), 400, 'InvalidRequest')
    assert.equal((await status()).indexedRecords, 0)

    for (let i = 0; i < 2; i++) {
      await importRepo(newAgent, car) // which may be repeated
      const got = await status()
      assert.equal(got.indexedRecords, before.indexedRecords)
      assert.equal(got.repoBlocks, before.repoBlocks)
      assert.deepEqual([got.expectedBlobs, got.importedBlobs], [blobs.length + 1, 0])
    }
  })

  await t.test('the blobs', async () => {
    for (const { recordUri } of await missingBlobs(newAgent)) assert.equal(new AtUri(recordUri).host, did)
    assert.deepEqual(await copyBlobs(oldAgent, newAgent), [...blobs, avatar].map((b) => b.ref.toString()).sort())
    const got = await status()
    assert.deepEqual([got.expectedBlobs, got.importedBlobs], [blobs.length + 1, blobs.length + 1])
    assert.deepEqual(await missingBlobs(newAgent), [])
  })

  await t.test('the preferences', async () => {
    await copyPreferences(oldAgent, newAgent)
    const { data } = await oldAgent.app.bsky.actor.getPreferences()
    assert.deepEqual((await newAgent.app.bsky.actor.getPreferences()).data, data)
  })

  await t.test('the identity', async () => {
    await fails(newAgent.com.atproto.server.activateAccount(), 400, 'InvalidRequest')
    const { data } = await newAgent.com.atproto.identity.getRecommendedDidCredentials()
    assert.deepEqual(data.alsoKnownAs, ['at://alice.new.test'])
    assert.equal(data.services.atproto_pds.endpoint, newServer.url)
    const client = new plc.Client(world.plcUrl)
    await client.updateData(did, rotation, (op) => ({ ...op, ...data, rotationKeys: [rotation.did(), ...data.rotationKeys] }))
    assert.equal((await client.getDocumentData(did)).services.atproto_pds.endpoint, newServer.url)
    await newAgent.com.atproto.identity.refreshIdentity({ identifier: did })
    assert.equal((await status()).validDid, true)
    assert.deepEqual(await follower.of(did, 0), []) // of all this nobody was told
  })

  await t.test('active at the new server, not at the old', async () => {
    await newAgent.com.atproto.server.activateAccount()
    await oldAgent.com.atproto.server.deactivateAccount({})
    const { data: head } = await newAgent.com.atproto.sync.getLatestCommit({ did })
    const want = ['account active', 'identity alice.new.test', `sync ${head.rev} ${head.cid}`]
    assert.deepEqual(await follower.of(did, want.length), want)
    assert.ok(head.rev > before.repoRev)
    await fails(oldServer.agent().com.atproto.sync.getRepo({ did }), 400, ComAtprotoSyncGetRepo.RepoDeactivatedError)
    // Not by the agent, which would renew its session, learn of the new server
    // and try there.
    await fails(
      oldServer.agent().com.atproto.repo.createRecord(
        { repo: did, collection: 'app.bsky.feed.post', record: { text: 'at the old server', createdAt: new Date().toISOString() } },
        { headers: { authorization: `Bearer ${oldAgent.session.accessJwt}` }, encoding: 'application/json' },
      ),
      401,
      'AccountDeactivated',
    )

    const identity = await world.resolver.did.resolveAtprotoData(did, true)
    assert.deepEqual([identity.handle, identity.pds], ['alice.new.test', newServer.url])
    assert.equal(await world.resolver.handle.resolve('alice.new.test'), did)
    assert.equal((await exported(newAgent, identity.signingKey)).length, before.indexedRecords)
    assert.deepEqual(await listAll(newAgent, did, 'app.bsky.feed.post'), posts)
    for (const blob of [...blobs, avatar]) {
      const { data } = await newServer.agent().com.atproto.sync.getBlob({ did, cid: blob.ref.toString() })
      assert.equal(data.byteLength, blob.size)
    }
  })

  await t.test('life goes on', async () => {
    const agent = newServer.agent()
    await agent.login({ identifier: 'alice.new.test', password: passwordOf('alice') })
    assert.equal(agent.pdsUrl.origin, newServer.url)
    const { uri, cid } = await agent.post({ text: 'at the new server' })
    const got = await follower.of(did, 4)
    assert.equal(got[3], `create ${uri.split('/').slice(3).join('/')} ${cid}`)
    await agent.deletePost(posts[0].uri)
    assert.equal((await follower.of(did, 5))[4], `delete ${posts[0].uri.split('/').slice(3).join('/')}`)
    // The follow is known again: following once more replaces it.
    await agent.follow(bob.assertDid)
    assert.equal((await listAll(agent, did, 'app.bsky.graph.follow')).length, 1)

    // What is left at the old server goes, and the new one does not mind.
    await oldAgent.com.atproto.server.requestAccountDelete()
    await oldServer.agent().com.atproto.server.deleteAccount({
      did, password: passwordOf('alice'), token: await oldServer.mailCode('alice@example.com'),
    })
    await fails(oldServer.agent().com.atproto.sync.getRepo({ did }), 400, ComAtprotoSyncGetRepo.RepoNotFoundError)
    await agent.post({ text: 'still here' })
  })
})
