// What each server tells the network, and whom it writes to, while an account
// lives through the same things.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'

import { Frame } from '@atproto/xrpc-server'

import { Reference } from '../reference.mjs'
import { Server, World, adminHeaders, passwordOf, until } from '../world.mjs'

/** The life of an account, all of it. */
async function live(server) {
  const alice = await server.signUp('alice')
  const did = alice.assertDid
  const { repo, server: own, identity } = alice.com.atproto
  const admin = (method, input) =>
    server.agent().com.atproto.admin[method](input, { headers: adminHeaders, encoding: 'application/json' })
  const address = ['alice@example.com', 'alice2@example.com']
  const signIn = () => alice.login({ identifier: did, password: passwordOf('alice') })

  // Records: what changes nothing makes no commit.
  const thing = { repo: did, collection: 'com.example.thing', rkey: 'self' }
  const { uri } = await alice.post({ text: 'hello' })
  await repo.putRecord({ ...thing, record: { a: 1 } })
  await repo.putRecord({ ...thing, record: { a: 1 } })
  await repo.putRecord({ ...thing, record: { a: 2 } })
  await alice.deletePost(uri)
  await alice.deletePost(uri)
  const create = { $type: 'com.atproto.repo.applyWrites#create', collection: 'com.example.thing', value: {} }
  await repo.applyWrites({ repo: did, writes: ['one', 'two'].map((rkey) => ({ ...create, rkey })) })
  await alice.uploadBlob(Buffer.from('text'), { encoding: 'text/plain' })
  await alice.setAdultContentEnabled(true)

  // Handles, also one that is the account's already.
  await alice.updateHandle({ handle: `alice2${server.domain}` })
  await alice.updateHandle({ handle: `alice2${server.domain}` })
  await admin('updateAccountHandle', { did, handle: `alice3${server.domain}` })

  // What only its owner hears of.
  await own.requestEmailConfirmation()
  await own.confirmEmail({ email: address[0], token: await server.mailCode(address[0]) })
  await own.requestEmailUpdate()
  await own.updateEmail({ email: address[1], token: await server.mailCode(address[0]) })
  await own.requestPasswordReset({ email: address[1] })
  await own.resetPassword({ token: await server.mailCode(address[1]), password: passwordOf('alice') })
  await signIn()
  await own.createAppPassword({ name: 'app' })

  await identity.requestPlcOperationSignature()
  const { data: credentials } = await identity.getRecommendedDidCredentials()
  const { data: signed } = await identity.signPlcOperation({
    ...credentials, alsoKnownAs: [...credentials.alsoKnownAs, 'at://alice.example.com'], token: await server.mailCode(address[1]),
  })
  await identity.submitPlcOperation({ operation: signed.operation })

  // Deactivation and takedown, which do not end each other.
  const { data: one } = await repo.getRecord({ ...thing, rkey: 'one' })
  const account = { $type: 'com.atproto.admin.defs#repoRef', did }
  const mark = (subject, applied) => admin('updateSubjectStatus', { subject, takedown: { applied } })
  await mark({ $type: 'com.atproto.repo.strongRef', uri: one.uri, cid: one.cid }, true)
  await own.deactivateAccount({})
  await own.deactivateAccount({})
  await mark(account, true)
  await mark(account, false)
  await signIn()
  await own.activateAccount()
  await own.activateAccount()
  await mark(account, true)
  await mark(account, true)
  await mark(account, false)
  await admin('sendEmail', { recipientDid: did, senderDid: did, subject: 'A word', content: 'hello' })

  await signIn()
  await own.requestAccountDelete()
  await until('the last mail is there', () => server.mail().length === mails.length)
  await own.deleteAccount({ did, password: passwordOf('alice'), token: await server.mailCode(address[1]) })
}

const activation = ['#account active', '#identity alice3', '#sync']

const events = [
  '#identity alice', '#account active', '#commit', '#sync',
  '#commit create app.bsky.feed.post/*',
  '#commit create com.example.thing/self',
  '#commit update com.example.thing/self',
  '#commit delete app.bsky.feed.post/*',
  '#commit create com.example.thing/one, create com.example.thing/two',
  '#identity alice2', '#identity alice2', '#identity alice3',
  '#identity of a PLC operation',
  '#account deactivated', '#account deactivated', '#account takendown', '#account deactivated',
  ...activation, ...activation,
  '#account takendown', '#account takendown', '#account active',
  '#account deleted',
]

const mails = [
  'alice@example.com: Email Confirmation',
  'alice@example.com: Email Update Requested',
  'alice2@example.com: Password Reset Requested',
  'alice2@example.com: PLC Update Operation Requested',
  'alice2@example.com: A word',
  'alice2@example.com: Account Deletion Requested',
]

/** The frames of a server's firehose as they come: of an account that is deleted one is left. */
async function firehose(t, server) {
  const frames = []
  const ws = new WebSocket(`${server.url.replace('http', 'ws')}/xrpc/com.atproto.sync.subscribeRepos?cursor=0`)
  ws.binaryType = 'arraybuffer'
  ws.onmessage = ({ data }) => frames.push(Frame.fromBytes(new Uint8Array(data)))
  t.after(() => ws.close())
  await once(ws, 'open')
  return frames
}

function describe({ header, body }) {
  const what = {
    '#identity': () => body.handle?.split('.')[0],
    '#account': () => (body.active ? 'active' : body.status),
    '#commit': () => body.ops.map(({ action, path }) => `${action} ${path.replace(/3[a-z2-7]{12}$/, '*')}`).join(', '),
    '#sync': () => '',
  }
  return `${header.t} ${what[header.t]() ?? ''}`.trim()
}

/** The fields of an event and of its operations, without those that may be absent by the lexicon. */
const fields = ({ body: { handle, ...body } }) => [
  Object.keys(body).sort(),
  (body.ops ?? []).map((op) => Object.keys(op).sort()),
]

test('both servers tell the same story', async (t) => {
  const world = await World.start(t)
  const servers = await Promise.all([Server.start(world, '.ours.test'), Reference.start(world, '.ref.test')])
  const [ours, reference] = await Promise.all(servers.map((server) => firehose(t, server)))
  await Promise.all(servers.map(live))
  for (const frames of [ours, reference]) {
    await until('the account is deleted', () => frames.at(-1)?.body.status === 'deleted')
  }
  // Ours names the handle in this event too.
  for (const [frames, identity] of [[ours, '#identity alice3'], [reference, '#identity']]) {
    assert.deepEqual(frames.map(describe), events.map((event) => (event === '#identity of a PLC operation' ? identity : event)))
  }
  assert.deepEqual(ours.map(fields), reference.map(fields))
  for (const server of servers) {
    assert.deepEqual(server.mail().map(({ to, subject }) => `${to}: ${subject}`), mails)
  }
})
