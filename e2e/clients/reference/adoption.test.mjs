// A reference server with fifty accounts is stopped, its data directory is
// adopted, and our server takes its place under the same name. Whoever had an
// account, a session, a password or a cursor there goes on.

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, readFile, readdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'

import { AtpAgent } from '@atproto/api'
import { readCar } from '@atproto/repo'

import { contentOf, exported, signIn } from '../move.mjs'
import { Reference } from '../reference.mjs'
import { Follower, Server, World, adminHeaders, fails, passwordOf, short, until } from '../world.mjs'

const accounts = 50
const names = Array.from({ length: accounts }, (_, n) => `user${n}`)
const run = promisify(execFile)

const picture = (n) =>
  Buffer.concat([
    Buffer.from('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==', 'base64'),
    Buffer.from([n]),
  ])

const admin = (server) => new AtpAgent({ service: server.url, headers: Object.entries(adminHeaders) })

/** Calls fn for each element, a few at a time. */
async function each(list, fn) {
  const left = [...list.entries()]
  await Promise.all(Array.from({ length: 4 }, async () => {
    for (let next; (next = left.shift()); ) await fn(next[1], next[0])
  }))
}

/** Signs everybody up and lets them do what people do. */
async function populate(server) {
  const { data: invite } = await admin(server).com.atproto.server.createInviteCode({ useCount: accounts + 10 })
  const people = []
  await each(names, async (name, n) => {
    const agent = await server.signUp(name, { inviteCode: invite.code })
    people[n] = { name, n, agent, did: agent.assertDid, handle: name + server.domain, password: passwordOf(name) }
    const { data: avatar } = await agent.uploadBlob(picture(n), { encoding: 'image/png' })
    await agent.upsertProfile(() => ({ displayName: name, avatar: avatar.blob }))
    for (let post = 0; post < 3; post++) people[n].post = await agent.post({ text: `post ${post} of ${name}` })
    const doomed = await agent.post({ text: 'not what I meant' })
    await agent.deletePost(doomed.uri)
    await agent.setAdultContentEnabled(n % 2 === 0)
  })
  await each(people, async (p, n) => {
    const other = people[(n + 1) % accounts]
    await p.agent.like(other.post.uri, other.post.cid)
    await p.agent.follow(other.did)
    if (n % 3 === 0) {
      const { data } = await p.agent.com.atproto.server.createAppPassword({ name: 'phone', privileged: n % 2 === 0 })
      p.appPassword = data.password
    }
  })
  return { people, invite: invite.code }
}

/** What a server says that anybody can ask: exports by block, heads, status. */
async function publicState(server, people) {
  const state = {}
  await each(people, async ({ did, gone }) => {
    const { data: status } = await server.agent().com.atproto.sync.getRepoStatus({ did })
    state[did] = { ...status }
    if (gone) return
    const { data: bytes } = await server.agent().com.atproto.sync.getRepo({ did })
    const { roots, blocks } = await readCar(bytes)
    const cids = blocks.cids().map(String).sort()
    state[did].car = [roots.join(), createHash('sha256').update(cids.join()).digest('hex'), cids.length]
  })
  return state
}

/** Names and hashes of all files below a folder. */
async function filesOf(dir) {
  const entries = await readdir(dir, { recursive: true, withFileTypes: true })
  const files = entries.filter((e) => e.isFile()).map((e) => join(e.parentPath, e.name)).sort()
  return Promise.all(files.map(async (f) => `${f} ${createHash('sha256').update(await readFile(f)).digest('hex')}`))
}

/** Our server, not running yet, in the place of another. */
async function heirOf(world, ref) {
  const heir = Object.assign(new Server(), { domain: ref.domain, port: ref.port, url: ref.url, did: ref.did, plcUrl: ref.plcUrl })
  heir.dir = await mkdtemp(join(tmpdir(), 'pdskit-e2e-'))
  await mkdir(heir.dataDir)
  heir.env = { ...heir.environment(), PDS_SERVICE_DID: ref.did, PDS_INVITE_REQUIRED: 'true' }
  heir.env.PDS_PLC_ROTATION_KEY_K256_PRIVATE_KEY_HEX = ref.env.PDS_PLC_ROTATION_KEY_K256_PRIVATE_KEY_HEX
  return heir
}

/** The command "adopt", whose report is JSON. */
async function adopt(heir, ref, ...flags) {
  const [program] = heir.command()
  const args = ['adopt', '-from', ref.dataDir, '-temp-blobs', join(ref.dataDir, 'temp'), '-json', ...flags]
  const { stdout } = await run(program, args, { env: heir.env })
  return JSON.parse(stdout)
}

test('fifty accounts of a reference server', async (t) => {
  const world = await World.start(t)
  const ref = await Reference.start(world, '.ref.test', { PDS_INVITE_REQUIRED: 'true' })
  const followed = new Follower(t, world, ref)
  const { people, invite } = await populate(ref)
  const [mover, sleeper, banned, censored, uploader] = people

  await mover.agent.updateHandle({ handle: `moved${ref.domain}` })
  mover.handle = `moved${ref.domain}`
  await sleeper.agent.com.atproto.server.deactivateAccount({})
  const takedown = (subject) =>
    admin(ref).com.atproto.admin.updateSubjectStatus({ subject, takedown: { applied: true, ref: 'case 1' } }, { encoding: 'application/json' })
  await takedown({ $type: 'com.atproto.admin.defs#repoRef', did: banned.did })
  await takedown({ $type: 'com.atproto.repo.strongRef', ...censored.post })
  const { data: draft } = await uploader.agent.uploadBlob(picture(200), { encoding: 'image/png' })
  const { data: reserved } = await ref.agent().com.atproto.server.reserveSigningKey({ did: 'did:plc:reservedreservedreserved' })
  sleeper.gone = banned.gone = true
  const active = people.filter((p) => !p.gone)

  const before = await publicState(ref, people)
  const contents = new Map()
  await each(active, async (p) => contents.set(p.did, await contentOf(p.agent)))
  // The takedown of the record is told to nobody; that of the account is.
  await until('all is told', () => followed.events.some((e) => e.did === banned.did && e.event === 'account' && e.status === 'takendown'))
  assert.deepEqual(followed.errors, [])
  const told = followed.events.map((e) => [e.seq, short(e)])
  await followed.firehose.destroy()

  const heir = await heirOf(world, ref)
  await assert.rejects(adopt(heir, ref), /in use/, 'the reference server is running')
  await ref.halt()
  const files = await filesOf(ref.dir)
  const report = await adopt(heir, ref)
  assert.deepEqual(await filesOf(ref.dir), files, 'the source is only read')
  assert.deepEqual(report.findings, [])
  assert.deepEqual(
    [report.accounts, report.adopted, report.leftOut, report.missingBlobs, report.invites, report.reservedKeys],
    [accounts, accounts, 0, 0, 1, 1],
    JSON.stringify(report.notes),
  )
  assert.equal(report.blobs, accounts + 1, 'an avatar each, and one upload')
  world.servers.push(heir)
  await heir.run()

  await t.test('repositories are the same', async () => {
    assert.deepEqual(await publicState(heir, people), before)
    await each(active, async (p) => {
      const { signingKey, handle, pds } = await world.resolver.did.resolveAtprotoData(p.did, true)
      assert.deepEqual([handle, pds], [p.handle, heir.url])
      const want = contents.get(p.did).records.map(({ uri, cid }) => `${uri} ${cid}`)
      // What is taken down stays in the tree.
      if (p === censored) want.push(`${p.post.uri} ${p.post.cid}`)
      assert.deepEqual(await exported(p.agent, signingKey), want.sort())
    })
  })

  await t.test('sessions, passwords and contents', async () => {
    await each(active, async (p) => {
      assert.deepEqual(await contentOf(p.agent), contents.get(p.did)) // by the access token of before
      const { refreshJwt } = p.agent.session
      const { data: next } = await heir.agent().com.atproto.server.refreshSession(undefined, { headers: { authorization: `Bearer ${refreshJwt}` } })
      assert.equal(next.handle, p.handle)
      for (const password of [p.password, p.appPassword].filter(Boolean)) {
        const agent = await signIn(heir, p.handle, password)
        assert.equal(agent.assertDid, p.did)
      }
    })
    await fails(signIn(heir, active[0].handle, 'another password'), 401, 'AuthenticationRequired')
    await fails(signIn(heir, banned.handle, banned.password), 401, 'AccountTakedown')
    const { data: list } = await active[0].agent.com.atproto.server.listAppPasswords()
    assert.deepEqual(list.passwords.map(({ name, privileged }) => [name, privileged]), [['phone', true]])
    const { data: codes } = await admin(heir).com.atproto.admin.getInviteCodes()
    assert.deepEqual(codes.codes.map(({ code, uses }) => [code, uses.length]), [[invite, accounts]])
    const { data: again } = await heir.agent().com.atproto.server.reserveSigningKey({ did: 'did:plc:reservedreservedreserved' })
    assert.deepEqual(again, reserved)
    await fails(heir.agent().com.atproto.repo.getRecord({ repo: censored.did, collection: 'app.bsky.feed.post', rkey: censored.post.uri.split('/').at(-1) }), 400, 'RecordNotFound')
  })

  await t.test('followers go on', async () => {
    const cursor = told.at(-20)[0]
    const follower = new Follower(t, world, heir, cursor)
    const all = () => follower.events.map((e) => [e.seq, short(e)])
    await until('the rest of the old events is there', () => all().length >= 19)
    assert.deepEqual(all(), told.slice(-19), 'the numbers of before')

    const posts = new Map()
    await each(active, async (p) => posts.set(p.did, await p.agent.post({ text: 'new here' })))
    const { data: posted } = await uploader.agent.com.atproto.repo.createRecord({
      repo: uploader.did, collection: 'com.example.drawing', record: { file: draft.blob },
    })
    await sleeper.agent.com.atproto.server.activateAccount()
    await until('the new events are there', () => all().length >= 19 + active.length + 1 + 3)
    assert.deepEqual(follower.errors, [])
    const fresh = follower.events.slice(19)
    assert.ok(fresh.every((e, i) => e.seq > (i ? fresh[i - 1].seq : told.at(-1)[0]) && e.seq > 1e15))
    for (const p of active) {
      const mine = fresh.filter((e) => e.did === p.did && e.event === 'create').map((e) => e.cid.toString())
      assert.deepEqual(mine, [posts.get(p.did).cid, ...(p === uploader ? [posted.cid] : [])])
    }
    const { data: head } = await heir.agent().com.atproto.sync.getLatestCommit({ did: sleeper.did })
    assert.deepEqual(
      fresh.filter((e) => e.did === sleeper.did).map(short),
      ['account active', `identity ${sleeper.handle}`, `sync ${head.rev} ${head.cid}`],
    )
    const { data: got } = await heir.agent().com.atproto.sync.getBlob({ did: uploader.did, cid: draft.blob.ref.toString() })
    assert.deepEqual(Buffer.from(got), picture(200))
  })

  await t.test('the identity can be changed, and nobody is adopted twice', async () => {
    await active[1].agent.updateHandle({ handle: `renamed${heir.domain}` })
    const { handle } = await world.resolver.did.resolveAtprotoData(active[1].did, true)
    assert.equal(handle, `renamed${heir.domain}`)
    await assert.rejects(adopt(heir, ref), /is complete/)
    await assert.rejects(adopt(heir, ref, '-account', active[1].did), /in use by process/)
  })
})
