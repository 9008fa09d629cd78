// The reference server is the peer that the other tests take it for.

import assert from 'node:assert/strict'
import { test } from 'node:test'

import { Reference } from '../reference.mjs'
import { Follower, World, fails } from '../world.mjs'

test('accounts of the reference server', async (t) => {
  const world = await World.start(t)
  const server = await Reference.start(world, '.ref.test')
  const alice = await server.signUp('alice')
  const { uri, cid } = await alice.post({ text: 'hello' })
  const follower = new Follower(t, world, server)
  const events = await follower.of(alice.assertDid, 4)
  assert.equal(events.at(-1), `create ${uri.split('/').slice(3).join('/')} ${cid}`)

  const identity = await world.resolver.did.resolveAtprotoData(alice.assertDid, true)
  assert.deepEqual([identity.handle, identity.pds], ['alice.ref.test', server.url])
  assert.equal(await world.resolver.handle.resolve('alice.ref.test'), alice.assertDid)
  await fails(server.signUp('alice'), 400, 'InvalidRequest')

  await alice.com.atproto.identity.requestPlcOperationSignature()
  assert.match(await server.mailCode('alice@example.com'), /^[A-Z2-7]{5}-[A-Z2-7]{5}$/)
})
