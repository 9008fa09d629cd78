// Members with accounts on different servers in one community: one of them is at
// the reference server and calls through its proxy.

import assert from 'node:assert/strict'
import { test } from 'node:test'

import { Reference } from '../clients/reference.mjs'
import { World, until } from '../clients/world.mjs'
import { Community, Member, namespace } from './server.mjs'

const picture = Uint8Array.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 1, 2, 3])

test('a community across servers', async (t) => {
  const world = await World.start(t)
  const [server, reference] = await Promise.all([Community.start(world, '.test'), Reference.start(world, '.ref.test')])
  const alice = new Member(await server.signUp('alice'), server)
  const bob = new Member(await reference.signUp('bob'), server)
  const { community } = await alice.post('createCommunity', { name: 'garden', title: 'The garden' })
  const { code } = await alice.post('createInvite', { community })
  await bob.post('acceptInvite', { community, code })
  await assert.rejects(bob.post('createCommunity', { name: 'other', title: 'Other' }), { error: 'AccountElsewhere' })

  const record = (collection, value) => ({
    repo: community,
    collection: `${namespace}.${collection}`,
    record: { ...value, createdAt: new Date().toISOString() },
  })
  const keyOf = ({ uri }) => uri.split('/').at(-1)
  const square = keyOf(await alice.post('createRecord', record('room', { name: 'The square' })))
  const { id: plans } = await alice.post('createRoom', { community, name: 'Plans', add: [bob.did] })
  const [hers, his] = [await alice.watch(community, square), await bob.watch(community, plans)]

  await t.test('in a public room', async () => {
    const { blob } = (await bob.call('uploadBlob', { repo: community }, picture)).data
    const sent = await bob.post('createRecord', record('message', { room: square, text: 'Hello', picture: { image: blob, alt: '' } }))
    await until('she hears him', () => hers.said().includes('Hello'))
    await bob.post('putRecord', { ...record('message', { room: square, text: 'Hello Alice' }), rkey: keyOf(sent) })
    await until('she hears him better', () => hers.said().includes('Hello Alice'))
    await alice.post('createRecord', record('reaction', { room: square, message: keyOf(sent), emoji: '🍅' }))
    const { data } = await alice.agent.com.atproto.repo.getRecord({ repo: community, collection: `${namespace}.authorship`, rkey: keyOf(sent) })
    assert.deepEqual([data.value.author, data.value.subject], [bob.did, sent.uri])
    await bob.post('deleteRecord', { repo: community, collection: `${namespace}.message`, rkey: keyOf(sent) })
    await until('it is redacted', () => hers.events.filter((e) => e.redacts).length === 2)
    const { entries } = await bob.get('getHistory', { community, room: square })
    assert.deepEqual(entries.filter((e) => e.data?.type === 'message'), [])
  })

  await t.test('in a private room', async () => {
    const { id } = (await bob.call('uploadPicture', { community, room: plans }, picture)).data
    await bob.post('sendMessage', { community, room: plans, text: 'Between us', picture: id, alt: 'A plan' })
    await alice.post('sendMessage', { community, room: plans, text: 'And nobody else' })
    await until('he hears her', () => his.said().includes('And nobody else'))
    const { rooms } = await alice.get('getCommunity', { community })
    assert.deepEqual(rooms.map((r) => [r.name, r.count, r.read]), [['The square', 1, 0], ['Plans', 2, 2]])
    for (const path of [`com.atproto.sync.getRepo?did=${community}`, `com.atproto.sync.listBlobs?did=${community}`]) {
      const public_ = Buffer.from(await (await fetch(`${server.url}/xrpc/${path}`)).arrayBuffer())
      assert.ok(!public_.includes('Between us') && !public_.includes(plans))
    }
  })

  await t.test('the server is killed in the middle', async () => {
    const { cursor } = his.events.findLast((e) => e.cursor && e.topic.endsWith(plans))
    const acknowledged = []
    const talking = (async () => {
      for (let n = 0; ; n++) {
        await alice.post('sendMessage', { community, room: plans, text: `number ${n}` })
        acknowledged.push(`number ${n}`)
      }
    })().catch(() => {})
    await until('some is said', () => acknowledged.length > 20)
    await server.kill()
    await talking
    await server.run()
    const resumed = await bob.watch(community, plans, cursor)
    await until('he has all of it', () => acknowledged.every((text) => resumed.said().includes(text)))
    assert.equal(new Set(resumed.said()).size, resumed.said().length, 'something came twice')
    resumed.socket.close()
  })

  await t.test('a ban', async () => {
    const watching = await bob.watch(community, square)
    const closed = new Promise((resolve) => watching.socket.addEventListener('close', resolve))
    const began = Date.now()
    await alice.post('banMember', { community, member: bob.did })
    await closed
    // By itself the server would look after a minute.
    assert.ok(Date.now() - began < 30_000)
    await assert.rejects(bob.get('getHistory', { community, room: square }), { status: 403, error: 'NotAMember' })
    await assert.rejects(bob.post('createRecord', record('message', { room: square, text: 'Hello?' })), { status: 403, error: 'ActorNotPermitted' })
  })
  for (const { socket } of [hers, his]) socket.close()
})
