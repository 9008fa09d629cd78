// What a service sees of members, and members of a service, must not depend on
// which server they live on: each call goes by way of both.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import http from 'node:http'
import { test } from 'node:test'
import { gzipSync } from 'node:zlib'

import { verifySignature } from '@atproto/crypto'

import { Reference } from '../reference.mjs'
import { Server, Tool, World } from '../world.mjs'

/** A service with a did:web, which notes what it gets and answers as it is told. */
class Upstream {
  requests = []

  static async start(t) {
    const upstream = new Upstream()
    upstream.server = http.createServer((req, res) => upstream.serve(req, res))
    upstream.server.listen(0, 'localhost')
    await once(upstream.server, 'listening')
    const { port } = upstream.server.address()
    upstream.did = `did:web:localhost%3A${port}`
    upstream.document = {
      '@context': ['https://www.w3.org/ns/did/v1'],
      id: upstream.did,
      service: [
        { id: '#example', type: 'ExampleService', serviceEndpoint: `http://localhost:${port}` },
        { id: '#nobody', type: 'ExampleService', serviceEndpoint: 'http://localhost:9' },
      ],
    }
    t.after(() => {
      upstream.server.close()
      upstream.server.closeAllConnections()
    })
    return upstream
  }

  async serve(req, res) {
    // Go's client asks again when a connection that it used before is cut.
    res.setHeader('connection', 'close')
    if (req.url === '/.well-known/did.json') {
      res.setHeader('content-type', 'application/json').end(JSON.stringify(this.document))
      return
    }
    const body = Buffer.concat(await Array.fromAsync(req)).toString('base64')
    this.requests.push({ method: req.method, path: req.url, headers: req.headers, body })
    this.answer(res)
  }
}

const json = (status, body, headers = {}) => (res) =>
  res.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body))

/** Headers that each server writes in its own way. */
const ofTransport = new Set([
  'host', 'connection', 'date', 'keep-alive', 'transfer-encoding', 'content-length', 'vary', 'cache-control', 'x-powered-by', 'etag',
  'dpop-nonce', 'x-request-id',
  // With these ours keeps browsers from running what a service sends.
  'content-security-policy', 'x-content-type-options',
])

const plain = (headers) =>
  Object.fromEntries(
    [...Object.entries(headers)].filter(([name]) => !ofTransport.has(name) && !name.startsWith('access-control-')).sort(),
  )

/** A member of a server, who sends raw requests through it. */
class Member {
  constructor(server, agent) {
    Object.assign(this, { server, agent, did: agent.assertDid, token: agent.session.accessJwt })
  }

  async call(path, { proxy, headers, ...init } = {}) {
    const res = await fetch(`${this.server.url}/xrpc/${path}`, {
      ...init,
      headers: {
        authorization: `Bearer ${this.token}`, 'accept-language': 'de', 'accept-encoding': 'identity', 'user-agent': 'test',
        ...(proxy && { 'atproto-proxy': proxy }), ...headers,
      },
    })
    return { status: res.status, headers: plain(Object.fromEntries(res.headers)), body: await res.text() }
  }
}

const authorization = 'a service token'

test('calls by way of both servers', async (t) => {
  const world = await World.start(t)
  const upstream = await Upstream.start(t)
  const view = { PDS_BSKY_APP_VIEW_URL: upstream.document.service[0].serviceEndpoint, PDS_BSKY_APP_VIEW_DID: upstream.did }
  const servers = await Promise.all([
    Server.start(world, '.ours.test', view),
    Reference.start(world, '.ref.test', view),
  ])
  await t.test('to a service of ours', () => ourService(t, world, servers))
  const members = []
  for (const server of servers) members.push(new Member(server, await server.signUp('alice')))
  const proxy = `${upstream.did}#example`

  /** Has each member make a call. What the service saw and what the member got must be the same, but for who it was. */
  async function same(path, init, answer) {
    const results = []
    for (const member of members) {
      upstream.requests = []
      upstream.answer = answer ?? json(200, {})
      const got = await member.call(path, init)
      const seen = await Promise.all(
        upstream.requests.map(async ({ headers, ...request }) => {
          assert.deepEqual(await claims(world, headers), {
            header: { typ: 'JWT', alg: 'ES256K' },
            iss: member.did, aud: upstream.did, lxm: path.split('?')[0], lifetime: 60,
          })
          return { ...request, headers: plain({ ...headers, authorization }) }
        }),
      )
      results.push({ seen, got })
    }
    assert.deepEqual(results[0], results[1])
    return results[0]
  }

  await t.test('the request', async () => {
    const { seen, got } = await same('com.example.look?b=2&a=%2Fx%20y&a=', {
      proxy,
      headers: {
        'atproto-accept-labelers': 'did:plc:ar7c4by46qjdydhdevvrndac;redact', 'x-bsky-topics': 'a', 'x-atproto-anything': 'b',
        'x-forwarded-for': '192.0.2.1', 'x-other': 'c', cookie: 'd=e', accept: 'text/html', 'atproto-other': 'f',
      },
    })
    assert.equal(got.status, 200)
    assert.deepEqual(seen, [
      {
        method: 'GET', path: '/xrpc/com.example.look?b=2&a=%2Fx%20y&a=', body: '',
        headers: {
          'accept-encoding': 'identity', 'accept-language': 'de', 'atproto-accept-labelers': 'did:plc:ar7c4by46qjdydhdevvrndac;redact',
          authorization, 'x-atproto-anything': 'b', 'x-bsky-topics': 'a',
        },
      },
    ])
  })

  await t.test('the default service', async () => {
    const { seen } = await same('app.bsky.actor.getSuggestions', {})
    assert.equal(seen[0].path, '/xrpc/app.bsky.actor.getSuggestions')
  })

  await t.test('bodies', async () => {
    for (const [type, body] of [['application/json', '{"a": [1,  2]}'], ['image/png', Buffer.from([137, 80, 78, 71, 0, 255])]]) {
      const { seen } = await same('com.example.send', { proxy, method: 'POST', body, headers: { 'content-type': type } })
      assert.equal(seen[0].body, Buffer.from(body).toString('base64'))
      assert.equal(seen[0].headers['content-type'], type)
    }
    const { seen } = await same('com.example.nothing', { proxy, method: 'POST' })
    assert.equal(seen[0].body, '')
    assert.equal((await same('com.example.look', { proxy, method: 'HEAD' })).seen[0].method, 'HEAD')
  })

  await t.test('the answer', async () => {
    const { got } = await same('com.example.look', { proxy }, json(200, { a: 1 }, {
      'content-language': 'de', 'atproto-repo-rev': '3jzfcijpj2z2a', 'atproto-content-labelers': 'did:plc:ar7c4by46qjdydhdevvrndac',
      'retry-after': '3', 'set-cookie': 'a=b', 'x-other': 'c', 'ratelimit-limit': '5', location: 'http://localhost:9',
    }))
    assert.deepEqual(got, {
      status: 200, body: '{"a":1}',
      headers: {
        'atproto-content-labelers': 'did:plc:ar7c4by46qjdydhdevvrndac', 'atproto-repo-rev': '3jzfcijpj2z2a', 'content-language': 'de',
        'content-type': 'application/json', 'retry-after': '3',
      },
    })
    const zipped = await same('com.example.look', { proxy, headers: { 'accept-encoding': 'gzip' } }, (res) =>
      res.writeHead(200, { 'content-type': 'text/plain', 'content-encoding': 'gzip' }).end(gzipSync('hello')))
    assert.deepEqual([zipped.got.body, zipped.got.headers['content-encoding']], ['hello', 'gzip'])
  })

  await t.test('errors of the service', async () => {
    for (const [answer, status, body] of [
      [json(409, { error: 'NotNow', message: 'later', more: 1 }), 409, { error: 'NotNow', message: 'later' }],
      [json(500, { error: 'Oops', message: 'broken' }), 502, { error: 'Oops', message: 'broken' }],
      [json(401, { error: 'ExpiredToken', message: 'old' }), 401, { error: 'ExpiredToken', message: 'old' }],
      [(res) => res.socket.destroy(), 502],
    ]) {
      const { got } = await same('com.example.look', { proxy }, answer)
      assert.equal(got.status, status)
      if (body) assert.deepEqual(JSON.parse(got.body), body)
    }
    assert.equal((await same('com.example.look', { proxy: `${upstream.did}#nobody` })).got.status, 502)
  })

  await t.test('headers that lead nowhere', async () => {
    for (const wrong of [
      '#example', upstream.did, `${upstream.did}#`, `${upstream.did}#a#b`, `${upstream.did} #example`, `${upstream.did}#unknown`,
      'did:plc:aaaaaaaaaaaaaaaaaaaaaaaa#example',
    ]) {
      const { seen, got } = await same('com.example.look', { proxy: wrong })
      assert.deepEqual([seen, got.status], [[], 400], wrong)
    }
  })

  await t.test('who may not', async () => {
    for (const member of members) {
      const { data } = await member.agent.com.atproto.server.createAppPassword({ name: 'app' })
      const app = member.server.agent()
      await app.login({ identifier: member.did, password: data.password })
      member.token = app.session.accessJwt
    }
    const chat = await same('chat.bsky.convo.listConvos', { proxy })
    assert.deepEqual([chat.seen, chat.got.status, JSON.parse(chat.got.body).error], [[], 400, 'InvalidToken'])
    assert.equal((await same('com.example.look', { proxy })).got.status, 200)
    for (const member of members) member.token = 'nonsense'
    assert.deepEqual((await same('com.example.look', { proxy })).seen, [])
  })
})

/** Verifies a service token with the key of its issuer. */
async function claims(world, headers) {
  const token = headers.authorization.replace('Bearer ', '')
  const [head, body, signature] = token.split('.')
  const parse = (part) => JSON.parse(Buffer.from(part, 'base64url'))
  const { iss, aud, lxm, iat, exp, jti } = parse(body)
  const key = await world.resolver.did.resolveAtprotoKey(iss)
  const signed = Buffer.from(`${head}.${body}`)
  assert.ok(await verifySignature(key, signed, Buffer.from(signature, 'base64url')))
  assert.ok(jti)
  return { header: parse(head), iss, aud, lxm, lifetime: exp - iat }
}

async function ourService(t, world, servers) {
  const service = await Tool.start('service', '-plc', world.plcUrl)
  t.after(() => service.stop())
  const did = `did:web:localhost%3A${new URL(service.url).port}`
  for (const server of servers) {
    const agent = await server.signUp('bob')
    const through = (path, init, id = 'example') => agent.withProxy(id, did).fetchHandler(`/xrpc/${path}`, init ?? {})
    const who = await through('com.example.who')
    assert.deepEqual([who.status, await who.json()], [200, { did: agent.assertDid, kind: 'service' }])
    for (let n = 0; n < 2; n++) { // each with a token of its own
      const said = await through('com.example.say', {
        method: 'POST', body: JSON.stringify({ text: 'hello' }), headers: { 'content-type': 'application/json' },
      })
      assert.deepEqual(await said.json(), { did: agent.assertDid, kind: 'service', text: 'hello' })
    }
    const refused = await through('com.example.refuse')
    assert.deepEqual([refused.status, await refused.json()], [409, { error: 'NotNow', message: 'come back later' }])
    assert.equal((await through('com.example.unknown')).status, 400)
    assert.equal((await through('com.example.who', {}, 'other')).status, 400)

    // An app password does for methods of others, too: that is the home's rule.
    const { data } = await agent.com.atproto.server.createAppPassword({ name: 'app' })
    const app = server.agent()
    await app.login({ identifier: agent.assertDid, password: data.password })
    assert.equal((await app.withProxy('example', did).fetchHandler('/xrpc/com.example.who', {})).status, 200)

    // A token for one method opens no other, and that of a procedure is good once.
    const { data: auth } = await agent.com.atproto.server.getServiceAuth({ aud: did, lxm: 'com.example.say' })
    const direct = (path, init) =>
      fetch(`${service.url}/xrpc/${path}`, { ...init, headers: { authorization: `Bearer ${auth.token}`, 'content-type': 'application/json' } })
    assert.equal((await direct('com.example.who')).status, 401)
    const say = { method: 'POST', body: '{"text":"once"}' }
    assert.equal((await direct('com.example.say', say)).status, 200)
    assert.equal((await direct('com.example.say', say)).status, 401)
  }

}
