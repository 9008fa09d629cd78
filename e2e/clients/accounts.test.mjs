// The life of an account as clients, resolvers and the firehose see it.

import assert from 'node:assert/strict'
import { test } from 'node:test'

import {
  ComAtprotoIdentityResolveHandle, ComAtprotoServerCreateAccount, ComAtprotoServerDeleteAccount, ComAtprotoSyncGetRepo,
} from '@atproto/api'
import { Secp256k1Keypair } from '@atproto/crypto'
import { verifyRepoCar } from '@atproto/repo'

import { Follower, World, adminHeaders, creation, fails, passwordOf } from './world.mjs'

test('an account from sign-up to deletion', async (t) => {
  const world = await World.start(t, '.test')
  const [server] = world.servers
  const follower = new Follower(t, world, server)
  const recovery = await Secp256k1Keypair.create()
  const alice = await server.signUp('alice', { recoveryKey: recovery.did() })
  const did = alice.assertDid
  const head = async () => (await alice.com.atproto.sync.getLatestCommit({ did })).data
  const expected = creation('alice.test', await head())
  const check = async () => assert.deepEqual(await follower.of(did, expected.length), expected)
  await check()

  await t.test('the DID document says what it should', async () => {
    const data = await world.resolver.did.resolveAtprotoData(did, true)
    assert.equal(data.handle, 'alice.test')
    assert.equal(data.pds, server.url)
    const { data: recommended } = await alice.com.atproto.identity.getRecommendedDidCredentials()
    assert.equal(recommended.verificationMethods.atproto, data.signingKey)
    assert.deepEqual(recommended.alsoKnownAs, ['at://alice.test'])
    assert.equal(recommended.services.atproto_pds.endpoint, server.url)
    const plc = await (await fetch(`${world.plcUrl}/${did}/data`)).json()
    assert.equal(plc.rotationKeys[0], recovery.did())
    assert.deepEqual(plc.rotationKeys.slice(1), recommended.rotationKeys)
    assert.equal(alice.session.didDoc?.id ?? did, did)
  })

  await t.test('the handle resolves both ways', async () => {
    assert.equal(await world.resolver.handle.resolve('alice.test'), did)
    const { data } = await alice.com.atproto.identity.resolveHandle({ handle: 'Alice.Test' })
    assert.equal(data.did, did)
    const { data: identity } = await alice.com.atproto.identity.resolveIdentity({ identifier: 'alice.test' })
    assert.deepEqual([identity.did, identity.handle], [did, 'alice.test'])
  })

  await t.test('a new handle', async () => {
    await alice.com.atproto.identity.updateHandle({ handle: 'alison.test' })
    expected.push('identity alison.test')
    await check()
    assert.equal(await world.resolver.handle.resolve('alison.test'), did)
    assert.equal(await world.resolver.handle.resolve('alice.test'), undefined)
    assert.equal((await alice.com.atproto.server.getSession()).data.handle, 'alison.test')
    await fails(
      alice.com.atproto.identity.resolveHandle({ handle: 'alice.test' }), 400, ComAtprotoIdentityResolveHandle.HandleNotFoundError,
    )
    await server.agent().login({ identifier: 'alison.test', password: passwordOf('alice') })
  })

  await t.test('deactivated, and active again', async () => {
    const { uri, cid } = await alice.post({ text: 'before' })
    expected.push(`create app.bsky.feed.post/${uri.split('/').pop()} ${cid}`)
    await alice.com.atproto.server.deactivateAccount({})
    expected.push('account deactivated')
    await check()
    await fails(server.agent().com.atproto.sync.getRepo({ did }), 400, ComAtprotoSyncGetRepo.RepoDeactivatedError)
    await fails(alice.post({ text: 'while deactivated' }), 401, 'AccountDeactivated')
    const { data } = await alice.com.atproto.server.getSession()
    assert.deepEqual([data.active, data.status], [false, 'deactivated'])
    const again = server.agent()
    await again.login({ identifier: did, password: passwordOf('alice') })
    assert.deepEqual([again.session.active, again.session.status], [false, 'deactivated'])

    await alice.com.atproto.server.activateAccount()
    const { rev, cid: commit } = await head()
    expected.push('account active', 'identity alison.test', `sync ${rev} ${commit}`)
    await check()
    const { data: car } = await alice.com.atproto.sync.getRepo({ did })
    const { creates } = await verifyRepoCar(car, did, await world.resolver.did.resolveAtprotoKey(did))
    assert.equal(creates.length, 1)
  })

  await t.test('taken down, and restored', async () => {
    const set = (applied) =>
      server.agent().com.atproto.admin.updateSubjectStatus(
        { subject: { $type: 'com.atproto.admin.defs#repoRef', did }, takedown: { applied } },
        { headers: adminHeaders, encoding: 'application/json' },
      )
    await set(true)
    expected.push('account takendown')
    await check()
    await fails(server.agent().com.atproto.sync.getRepo({ did }), 400, ComAtprotoSyncGetRepo.RepoTakendownError)
    await fails(alice.post({ text: 'while taken down' }), 401, 'AccountTakedown')
    await fails(server.agent().login({ identifier: did, password: passwordOf('alice') }), 401, 'AccountTakedown')
    await set(false)
    expected.push('account active')
    await check()
    await alice.login({ identifier: did, password: passwordOf('alice') })
  })

  await t.test('deleted, and its names are free', async () => {
    await alice.com.atproto.server.requestAccountDelete()
    const remove = (token, password = passwordOf('alice')) =>
      server.agent().com.atproto.server.deleteAccount({ did, password, token })
    await fails(remove('AAAAA-AAAAA'), 400, ComAtprotoServerDeleteAccount.InvalidTokenError)
    const code = await server.mailCode('alice@example.com')
    await fails(remove(code, 'wrong'), 401, 'AuthenticationRequired')
    await remove(code.toLowerCase())
    expected.push('account deleted')
    await check()
    await fails(server.agent().com.atproto.sync.getRepo({ did }), 400, ComAtprotoSyncGetRepo.RepoNotFoundError)
    await fails(alice.com.atproto.server.getSession(), 403, 'AccountNotFound')

    // Who reads from the beginning learns of the deletion alone.
    const late = new Follower(t, world, server)
    assert.deepEqual(await late.of(did, 1), ['account deleted'])
    const second = await server.signUp('alice')
    assert.notEqual(second.assertDid, did)
  })
})

test('sign-ups that are refused', async (t) => {
  const world = await World.start(t, '.test')
  const [server] = world.servers
  await server.signUp('alice')
  const { HandleNotAvailableError, InvalidHandleError, UnsupportedDomainError } = ComAtprotoServerCreateAccount
  const signUp = (input) =>
    server.agent().createAccount({ handle: 'bob.test', email: 'bob@example.com', password: 'the password of bob', ...input })
  await fails(signUp({ handle: 'alice.test' }), 400, HandleNotAvailableError)
  await fails(signUp({ handle: 'ALICE.test' }), 400, HandleNotAvailableError)
  await fails(signUp({ handle: 'admin.test' }), 400, HandleNotAvailableError)
  await fails(signUp({ handle: 'al.test' }), 400, InvalidHandleError)
  await fails(signUp({ handle: 'nineteen-characters.test' }), 400, InvalidHandleError)
  await fails(signUp({ handle: 'one.two.test' }), 400, InvalidHandleError)
  await fails(signUp({ handle: 'bob.example.org' }), 400, UnsupportedDomainError)
  await fails(signUp({ email: 'alice@example.com' }), 400, 'InvalidRequest')
  await fails(signUp({ email: 'nonsense' }), 400, 'InvalidRequest')
  await fails(signUp({ password: 'x'.repeat(257) }), 400, 'InvalidRequest')
  await fails(signUp({ did: 'did:plc:aaaaaaaaaaaaaaaaaaaaaaaa' }), 401, 'AuthenticationRequired')
  const names = ['bob', 'bob', 'bob', 'bob'].map((name, i) => signUp({ handle: `${name}.test`, email: `${name}${i}@example.com` }))
  const answers = await Promise.allSettled(names)
  assert.equal(answers.filter((a) => a.status === 'fulfilled').length, 1)
})
