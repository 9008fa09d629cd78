// An account moves from the reference server to ours and back, as its owner
// would move it. Firehose consumers of both servers see one story.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { test } from 'node:test'

import { ComAtprotoSyncGetRepo } from '@atproto/api'
import { Secp256k1Keypair } from '@atproto/crypto'

import {
  contentOf, copyBlobs, copyPreferences, copyRepo, exported, missingBlobs, moveIdentity, openAccount, signIn,
} from '../move.mjs'
import { Reference } from '../reference.mjs'
import { Follower, Server, World, fails, passwordOf, pathOf } from '../world.mjs'

/** The smallest picture, made different from others by what comes after its end. */
const picture = (n) =>
  Buffer.concat([
    Buffer.from('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==', 'base64'),
    Buffer.from([n]),
  ])

/** Both servers and a consumer of each, and on the reference server Bob, with a post that others like. */
async function stage(t) {
  const world = await World.start(t)
  const [ours, ref] = await Promise.all([Server.start(world, '.ours.test'), Reference.start(world, '.ref.test')])
  const bob = await ref.signUp('bob')
  const liked = await bob.post({ text: 'hello' })
  return { world, ours, ref, liked, followOurs: new Follower(t, world, ours), followRef: new Follower(t, world, ref) }
}

/** An account that has a bit of everything, all of which the server's consumer has seen. */
async function settled(s, server, follower, name) {
  const agent = await server.signUp(name)
  await fill(agent, s.liked)
  const content = await contentOf(agent)
  // With the keys of the new server, what was signed before could not be verified.
  const told = await follower.of(agent.assertDid, content.records.length + 3)
  return { agent, content, told }
}

async function fill(agent, liked) {
  const upload = async (n) => (await agent.uploadBlob(picture(n), { encoding: 'image/png' })).data.blob
  const avatar = await upload(0)
  await agent.upsertProfile(() => ({ displayName: 'Alice', avatar }))
  for (let n = 1; n <= 6; n++) {
    const image = await upload(n)
    await agent.post({
      text: `picture ${n}`,
      embed: { $type: 'app.bsky.embed.images', images: [{ image, alt: `number ${n}`, aspectRatio: { width: 1, height: 1 } }] },
    })
  }
  for (let n = 0; n < 105; n++) await agent.post({ text: `post ${n}` })
  await agent.like(liked.uri, liked.cid)
  await agent.repost(liked.uri, liked.cid)
  await agent.follow(liked.uri.split('/')[2])
  await agent.com.atproto.repo.createRecord({
    repo: agent.assertDid, collection: 'com.example.drawing', record: { title: 'unknown to both', file: avatar },
  })
  await agent.setAdultContentEnabled(true)
  await agent.addMutedWord({ value: 'spoiler', targets: ['content'], actorTarget: 'all' })
}

/** Asserts where the account lives and that it has the same there. */
async function livesAt({ world }, agent, server, handle, want) {
  const did = agent.assertDid
  const identity = await world.resolver.did.resolveAtprotoData(did, true)
  assert.deepEqual([identity.handle, identity.pds], [handle, server.url])
  assert.equal(await world.resolver.handle.resolve(handle), did)
  const status = (await agent.com.atproto.server.checkAccountStatus()).data
  assert.deepEqual(
    [status.activated, status.validDid, status.indexedRecords, status.expectedBlobs, status.importedBlobs],
    [true, true, want.records.length, want.blobs.length, want.blobs.length],
  )
  assert.deepEqual(await contentOf(agent), want)
  assert.deepEqual(await exported(agent, identity.signingKey), want.records.map(({ uri, cid }) => `${uri} ${cid}`).sort())
}

/** The events of an activation, with which consumers believe a server that is new to the account. */
async function activation(agent, handle) {
  const { data } = await agent.com.atproto.sync.getLatestCommit({ did: agent.assertDid })
  return ['account active', `identity ${handle}`, `sync ${data.rev} ${data.cid}`]
}

test('accounts move', async (t) => {
  const s = await stage(t)
  await t.test('from the reference server and back', (t) => thereAndBack(t, s))
  await t.test('from ours to an account that is new', () => toTheReference(s))
  await t.test('by the command of our server', () => byCommand(s))
})

async function thereAndBack(t, s) {
  const { world, ours, ref, followOurs, followRef } = s
  const { agent: alice, told, ...had } = await settled(s, ref, followRef, 'alice')
  let { content } = had
  const did = alice.assertDid
  const own = await Secp256k1Keypair.create()
  const { data: phone } = await alice.com.atproto.server.createAppPassword({ name: 'phone' })
  await livesAt(s, alice, ref, 'alice.ref.test', content)
  let there

  await t.test('to ours', async () => {
    there = await openAccount(alice, ours, { handle: 'alice.ours.test', email: 'alice@example.com', password: passwordOf('alice') })
    const status = async () => (await there.com.atproto.server.checkAccountStatus()).data
    await copyRepo(alice, there)
    assert.deepEqual(
      await status().then((got) => [got.activated, got.validDid, got.indexedRecords, got.expectedBlobs, got.importedBlobs]),
      [false, false, content.records.length, content.blobs.length, 0],
    )
    assert.equal((await copyBlobs(alice, there)).length, content.blobs.length)
    assert.deepEqual(await missingBlobs(there), [])
    await copyPreferences(alice, there)
    await fails(there.com.atproto.server.activateAccount(), 400, 'InvalidRequest')
    await moveIdentity(alice, ref, there, 'alice@example.com', [own.did()])
    const { rotationKeys } = await (await fetch(`${world.plcUrl}/${did}/data`)).json()
    const { data: recommended } = await there.com.atproto.identity.getRecommendedDidCredentials()
    assert.deepEqual(rotationKeys, [own.did(), ...recommended.rotationKeys])
    assert.equal((await status()).validDid, true)
    // All that was told: the DID document has changed. The handle does not lead anywhere yet.
    assert.deepEqual(await followOurs.of(did, 1), ['identity undefined'])
    await there.com.atproto.server.activateAccount()
    await alice.com.atproto.server.deactivateAccount({})
    await livesAt(s, there, ours, 'alice.ours.test', content)
  })

  await t.test('consumers of both know', async () => {
    const want = await activation(there, 'alice.ours.test')
    assert.deepEqual((await followOurs.of(did, 4)).slice(1), want)
    const events = (await followRef.of(did, told.length + 1)).slice(told.length)
    // The DID document has the new handle when this arrives.
    assert.deepEqual(events.filter((event) => !event.startsWith('identity')), ['account deactivated'])
    await fails(ref.agent().com.atproto.sync.getRepo({ did }), 400, ComAtprotoSyncGetRepo.RepoDeactivatedError)
  })

  await t.test('a life at ours', async () => {
    const { data } = await there.com.atproto.server.createAppPassword({ name: 'tablet' })
    await ours.agent().login({ identifier: 'alice.ours.test', password: data.password })
    await fails(ours.agent().login({ identifier: 'alice.ours.test', password: phone.password }), 401, 'AuthenticationRequired')
    const { data: blob } = await there.uploadBlob(picture(100), { encoding: 'image/png' })
    const post = await there.post({
      text: 'at ours', embed: { $type: 'app.bsky.embed.images', images: [{ image: blob.blob, alt: 'new' }] },
    })
    const old = content.records.find(({ uri }) => uri.includes('app.bsky.feed.like'))
    await there.deleteLike(old.uri)
    assert.deepEqual((await followOurs.of(did, 6)).slice(4), [`create ${pathOf(post.uri)} ${post.cid}`, `delete ${pathOf(old.uri)}`])
    content = await contentOf(there)
  })

  await t.test('back, to the account that was left', async () => {
    const back = await signIn(ref, did, passwordOf('alice'))
    assert.deepEqual([back.session.active, back.session.status], [false, 'deactivated'])
    await copyRepo(there, back)
    assert.equal((await copyBlobs(there, back)).length, 1) // the others were kept
    await copyPreferences(there, back)
    await moveIdentity(there, ours, back, 'alice@example.com', [own.did()])
    await back.com.atproto.server.activateAccount()
    await there.com.atproto.server.deactivateAccount({})
    assert.equal((await followOurs.of(did, 7))[6], 'account deactivated')
    await followRef.endsWith(did, await activation(back, 'alice.ref.test'))
    assert.deepEqual(await contentOf(back), content)
    // The reference server serves our commit until it makes one of its own, so
    // that its exports verify only now.
    const { uri, cid } = await back.post({ text: 'back' })
    await followRef.endsWith(did, [`create ${pathOf(uri)} ${cid}`])
    const after = await contentOf(back)
    const isNew = (record) => record.uri === uri
    assert.deepEqual({ ...after, records: after.records.filter((r) => !isNew(r)) }, content)
    assert.equal(after.records.filter(isNew).length, 1)
    await livesAt(s, back, ref, 'alice.ref.test', after)
    await ref.agent().login({ identifier: 'alice.ref.test', password: phone.password })
    await fails(ours.agent().com.atproto.sync.getRepo({ did }), 400, ComAtprotoSyncGetRepo.RepoDeactivatedError)
  })
}

async function toTheReference(s) {
  const { ours, ref, followOurs, followRef } = s
  const { agent: carol, content } = await settled(s, ours, followOurs, 'carol')
  const there = await openAccount(carol, ref, { handle: 'carol.ref.test', email: 'carol@example.com', password: passwordOf('carol') })
  await copyRepo(carol, there)
  assert.equal((await copyBlobs(carol, there)).length, content.blobs.length)
  await copyPreferences(carol, there)
  await moveIdentity(carol, ours, there, 'carol@example.com')
  await there.com.atproto.server.activateAccount()
  await carol.com.atproto.server.deactivateAccount({})
  await followOurs.endsWith(carol.assertDid, ['account deactivated'])
  await followRef.endsWith(carol.assertDid, await activation(there, 'carol.ref.test'))
  const { uri } = await there.post({ text: 'there' })
  await there.deletePost(uri)
  await livesAt(s, there, ref, 'carol.ref.test', content)
}

async function byCommand(s) {
  const { ours, ref, followOurs, followRef } = s
  const { agent: dora, content } = await settled(s, ref, followRef, 'dora')
  const did = dora.assertDid
  const output = await moveIn(ours, did, async (question) => {
    if (question.startsWith('Password of')) return passwordOf('dora')
    assert.match(question, /^Code that/)
    return ref.mailCode('dora@example.com')
  })
  const [, password] = output.match(/password\s+(\S+)/)
  const there = await signIn(ours, 'dora.ours.test', password)
  assert.equal(there.assertDid, did)
  await livesAt(s, there, ours, 'dora.ours.test', content)
  await followOurs.endsWith(did, await activation(there, 'dora.ours.test'))
  await followRef.endsWith(did, ['account deactivated'])
  await fails(ref.agent().com.atproto.sync.getRepo({ did }), 400, ComAtprotoSyncGetRepo.RepoDeactivatedError)
}

/** Runs "account move-in", types an answer to each question and returns what was printed. */
async function moveIn(server, did, answer) {
  const [program] = server.command()
  const command = spawn(program, ['account', 'move-in', did], { env: server.env })
  let output = ''
  command.stderr.on('data', (data) => (output += data))
  command.stdout.on('data', async (data) => {
    output += data
    if (output.endsWith(': ')) command.stdin.write(`${await answer(output.split('\n').at(-1).trim())}\n`)
  })
  const [code] = await once(command, 'close')
  assert.equal(code, 0, output)
  return output
}
