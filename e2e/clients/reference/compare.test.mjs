// The same calls at the reference server and at ours: the answers must have the
// same status, the same name of an error, and the same fields. Where ours differ
// on purpose, the table says how.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { inspect, isDeepStrictEqual } from 'node:util'

import { Reference } from '../reference.mjs'
import { Server, World, adminHeaders } from '../world.mjs'
import { cases } from './cases.mjs'

const bearer = (token) => ({ authorization: `Bearer ${token}` })

/** A server with Alice, who has records, a blob and an app password, and Bob. */
class Side {
  static async start(server) {
    const side = new Side()
    side.server = server
    side.alice = await server.signUp('alice')
    side.bob = await server.signUp('bob')
    side.did = side.alice.assertDid
    const post = await side.alice.post({ text: 'hello' })
    side.uri = post.uri
    side.cid = post.cid
    side.rkey = post.uri.split('/').at(-1)
    const { data } = await side.alice.uploadBlob(Buffer.from('some text'), { encoding: 'text/plain' })
    side.blob = data.blob.ref.toString()
    await side.alice.com.atproto.repo.createRecord({
      repo: side.did, collection: 'com.example.file', rkey: 'one', record: { file: data.blob },
    })
    const { data: app } = await side.alice.com.atproto.server.createAppPassword({ name: 'app' })
    const { data: session } = await server.agent().com.atproto.server.createSession({
      identifier: side.did, password: app.password,
    })
    side.tokens = {
      alice: bearer(side.alice.session.accessJwt),
      bob: bearer(side.bob.session.accessJwt),
      refresh: bearer(side.alice.session.refreshJwt),
      app: bearer(session.accessJwt),
      admin: adminHeaders,
      garbage: bearer('a.b.c'),
      none: {},
    }
    return side
  }

  async call({ verb, nsid, who, input }) {
    const given = typeof input === 'function' ? input(this) : input
    const url = new URL(`/xrpc/${nsid}`, this.server.url)
    const init = { method: verb, headers: { ...this.tokens[who] } }
    if (verb === 'GET') {
      for (const [name, value] of Object.entries(given ?? {})) url.searchParams.append(name, value)
    } else if (given !== undefined) {
      init.body = JSON.stringify(given)
      init.headers['content-type'] = 'application/json'
    }
    const res = await fetch(url, init)
    const body = await res.arrayBuffer()
    const type = res.headers.get('content-type')?.split(';')[0] ?? ''
    const json = type === 'application/json' ? JSON.parse(Buffer.from(body).toString()) : {}
    if (!res.ok) return { answer: `${res.status} ${json.error}`, message: json.message }
    return { answer: `${res.status}`, type, fields: shape(json) }
  }
}

/**
 * The fields of a value with their types. Cursors are left out: the reference
 * server gives one with the last page too.
 */
function shape(value) {
  if (Array.isArray(value)) return value.slice(0, 1).map(shape)
  if (value === null || typeof value !== 'object') return typeof value
  return Object.fromEntries(
    Object.entries(value).filter(([name]) => name !== 'cursor').sort().map(([name, v]) => [name, shape(v)]),
  )
}

/** Takes fields out of a shape, wherever they are. */
function without(value, names) {
  if (Array.isArray(value)) return value.map((v) => without(v, names))
  if (typeof value !== 'object') return value
  return Object.fromEntries(
    Object.entries(value).filter(([name]) => !names.includes(name)).map(([name, v]) => [name, without(v, names)]),
  )
}

test('both servers answer alike', async (t) => {
  const world = await World.start(t)
  const view = { PDS_BSKY_APP_VIEW_URL: 'http://localhost:9', PDS_BSKY_APP_VIEW_DID: 'did:web:appview.test' }
  const servers = await Promise.all([Server.start(world, '.test', view), Reference.start(world, '.test', view)])
  servers[1].faults = () => [] // some of these calls are
  const [ours, reference] = await Promise.all(servers.map((server) => Side.start(server)))
  const wrong = []
  for (const c of cases) {
    const [a, b] = [await ours.call(c), await reference.call(c)]
    const { ours: mine, reference: theirs, lacks } = c.differs ?? {}
    const fits = mine
      ? a.answer === mine && b.answer === theirs
      : isDeepStrictEqual([a.answer, a.type, a.fields], [b.answer, b.type, lacks ? without(b.fields, lacks) : b.fields]) &&
        (!lacks || !isDeepStrictEqual(a.fields, b.fields))
    if (!fits) wrong.push(`${c.verb} ${c.nsid} ${c.who} ${JSON.stringify(c.input) ?? c.input ?? ''}\n${inspect({ ours: a, reference: b }, { depth: 9 })}`)
  }
  assert.equal(wrong.join('\n\n'), '')
})
