// What the tests share: a PLC directory, servers as an operator runs them, and
// the official clients that talk to them. Nothing of the clients is replaced
// but how they reach a handle: names below .test are not in the world's DNS.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { createHmac, randomBytes, randomInt } from 'node:crypto'
import { createSocket } from 'node:dgram'
import dns from 'node:dns/promises'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import http from 'node:http'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { isDeepStrictEqual } from 'node:util'

import { AtpAgent, XRPCError } from '@atproto/api'
import { IdResolver } from '@atproto/identity'
import { Firehose } from '@atproto/sync'

const bin = process.env.PDSKIT_E2E_BIN ?? new URL('../bin', import.meta.url).pathname

export const adminPassword = 'the administrator'
const jwtSecret = 'a secret that signs session tokens'

/** How long something may take that is under way, in milliseconds. */
const patience = 20_000

/**
 * A PLC directory, servers that use it and a resolver that knows both.
 * Everything ends with the test that it was made for.
 */
export class World {
  servers = []

  static async start(t, ...domains) {
    const world = new World()
    t.after(() => world.stop())
    world.plc = await Tool.start('plc')
    world.plcUrl = world.plc.url
    world.nameserver = await startNameserver()
    world.resolver = new IdResolver({ plcUrl: world.plcUrl, fetch: (input, init) => world.fetch(input, init) })
    for (const domain of domains) {
      await Server.start(world, domain)
    }
    return world
  }

  async stop() {
    const stopped = await Promise.allSettled(this.servers.map((server) => server.stop()))
    await this.plc.stop()
    this.nameserver?.close()
    for (const { reason } of stopped) if (reason) throw reason
  }

  /** Fetches from the PLC directory, and from handles by the server of their domain. */
  async fetch(input, init) {
    const url = new URL(input instanceof Request ? input.url : input)
    const server = this.servers
      .filter((s) => url.hostname.endsWith(s.domain))
      .sort((a, b) => b.domain.length - a.domain.length)[0]
    if (!server) return fetch(input, init)
    const req = http.get(server.url + url.pathname, { headers: { host: url.hostname }, signal: init?.signal })
    const [res] = await once(req, 'response')
    return new Response(Buffer.concat(await Array.fromAsync(res)), { status: res.statusCode })
  }
}

/** A DNS server that knows no name, so that no other is asked. */
async function startNameserver() {
  const socket = createSocket('udp4')
  socket.on('message', (query, from) => {
    const answer = Buffer.from(query)
    answer.writeUInt16BE(0x8183, 2) // an answer: no such name
    answer.fill(0, 6, 12) // no records
    socket.send(answer, from.port, from.address)
  })
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  dns.setServers([`127.0.0.1:${socket.address().port}`])
  return socket
}

/** A program of the tests that prints its address and serves until its input ends. */
export class Tool {
  static async start(name, ...args) {
    const tool = new Tool()
    tool.process = spawn(join(bin, name), args, { stdio: ['pipe', 'pipe', 'inherit'] })
    ;[tool.url] = await once(createInterface(tool.process.stdout), 'line')
    return tool
  }

  async stop() {
    this.process.stdin.end()
    await exited(this.process)
  }
}

async function exited(child) {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
}

/**
 * A port that nobody listens on. It lies below those that systems give to
 * listeners and connections that ask for none, so that none of them has it when
 * the server begins to listen, or begins again.
 */
async function freePort() {
  for (;;) {
    const port = randomInt(20_000, 30_000)
    const server = createServer().listen(port, 'localhost')
    try {
      await once(server, 'listening')
    } catch (err) {
      if (err.code !== 'EADDRINUSE') throw err
      continue
    }
    server.close()
    await once(server, 'close')
    return port
  }
}

/** The example server in a process of its own. */
export class Server {
  log = []

  static async start(world, domain, env = {}) {
    const s = new this()
    s.domain = domain
    s.port = await freePort()
    s.url = `http://localhost:${s.port}`
    s.dir = await mkdtemp(join(tmpdir(), 'pdskit-e2e-'))
    await mkdir(s.dataDir)
    s.plcUrl = world.plcUrl
    s.env = { ...s.environment(), ...env }
    world.servers.push(s)
    await s.run()
    const { data } = await new AtpAgent({ service: s.url }).com.atproto.server.describeServer()
    s.did = data.did
    return s
  }

  /** The program and its arguments. */
  command() {
    return [join(bin, 'server')]
  }

  /** Where the server keeps everything. */
  get dataDir() {
    return join(this.dir, 'data')
  }

  environment() {
    return {
      PATH: process.env.PATH,
      TMPDIR: tmpdir(),
      PDS_DEV_MODE: 'true',
      PDS_PORT: String(this.port),
      PDS_DATA_DIRECTORY: this.dataDir,
      PDS_DID_PLC_URL: this.plcUrl,
      PDS_SERVICE_HANDLE_DOMAINS: this.domain,
      PDS_INVITE_REQUIRED: 'false',
      PDS_RATE_LIMITS_ENABLED: 'false',
      PDS_ENABLE_DID_DOC_WITH_SESSION: 'true',
      PDS_BLOB_UPLOAD_LIMIT: '1000000',
      PDS_JWT_SECRET: jwtSecret,
      PDS_ADMIN_PASSWORD: adminPassword,
      PDS_PLC_ROTATION_KEY_K256_PRIVATE_KEY_HEX: randomBytes(32).toString('hex'),
    }
  }

  /** Starts the process and waits until it serves. */
  async run() {
    const [program, ...args] = this.command()
    this.process = spawn(program, args, { env: this.env, stdio: ['ignore', 'pipe', 'pipe'] })
    process.once('exit', () => this.process.kill('SIGKILL'))
    for (const output of [this.process.stdout, this.process.stderr]) {
      createInterface(output).on('line', (line) => this.log.push(line))
    }
    await until('the server serves', async () => {
      if (this.process.exitCode !== null) throw new Error(`the server ended:\n${this.log.join('\n')}`)
      const res = await fetch(`${this.url}/xrpc/_health`).catch(() => undefined)
      return res?.ok
    }, 3 * patience)
  }

  /** Stops the process as an operator does. It must have had no error of its own. */
  async halt() {
    this.process.kill('SIGTERM')
    await exited(this.process)
    assert.equal(this.process.exitCode, 0, this.log.slice(-20).join('\n'))
    assert.deepEqual(this.faults(), [])
  }

  /** The log's lines that are JSON. */
  entries() {
    return this.log.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line))
  }

  /** What the server logged as an error of its own. */
  faults() {
    return this.entries().filter((entry) => entry.level === 'ERROR')
  }

  /** The mail that the server would have sent, oldest first: it only logs it. */
  mail() {
    return this.entries().filter((entry) => entry.msg === 'mail')
  }

  async stop() {
    try {
      if (this.process.exitCode === null) await this.halt()
    } finally {
      await rm(this.dir, { recursive: true, force: true })
    }
  }

  agent(options) {
    return new AtpAgent({ service: this.url, ...options })
  }

  /** A new account and an agent that is signed in as it. */
  async signUp(name, more = {}) {
    const agent = this.agent()
    await agent.createAccount({
      handle: name + this.domain,
      email: `${name}@example.com`,
      password: passwordOf(name),
      ...more,
    })
    return agent
  }

  /**
   * The code in the newest mail to an address. It waits for one that no test
   * has read yet.
   */
  async mailCode(address) {
    return until(`there is mail to ${address}`, () => {
      const code = this.mail()
        .filter(({ to }) => to === address)
        .flatMap((mail) => mail.text.match(/\b[A-Z2-7]{5}-[A-Z2-7]{5}\b/) ?? [])
        .at(-1)
      if (!code || this.codesRead.has(code)) return undefined
      this.codesRead.add(code)
      return code
    })
  }

  codesRead = new Set()

  /** A session token of this server that has expired. */
  expiredToken(did) {
    const now = Math.floor(Date.now() / 1000)
    const text = [
      { typ: 'at+jwt', alg: 'HS256' },
      { scope: 'com.atproto.access', aud: this.did, sub: did, iat: now - 7300, exp: now - 100 },
    ]
      .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
      .join('.')
    return `${text}.${createHmac('sha256', jwtSecret).update(text).digest('base64url')}`
  }
}

export const passwordOf = (name) => `the password of ${name}`

export const adminHeaders = {
  authorization: `Basic ${Buffer.from(`admin:${adminPassword}`).toString('base64')}`,
}

/** Calls check until it returns something true. */
export async function until(what, check, limit = patience) {
  for (const start = Date.now(); ; ) {
    const got = await check()
    if (got) return got
    if (Date.now() - start > limit) throw new Error(`it takes too long until ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

/** The firehose of a server, verified by @atproto/sync. */
export class Follower {
  events = []
  errors = []

  constructor(t, world, server, cursor = 0) {
    this.cursor = cursor
    this.firehose = new Firehose({
      service: server.url.replace('http', 'ws'),
      idResolver: world.resolver,
      getCursor: () => this.cursor,
      handleEvent: (evt) => {
        this.cursor = evt.seq
        this.events.push(evt)
      },
      onError: (err) => this.errors.push(err),
      subscriptionReconnectDelay: 50,
    })
    this.firehose.start()
    t.after(() => this.firehose.destroy())
  }

  /** Waits until there are n events of an account and returns all of them, as short texts. */
  async of(did, n) {
    const mine = () => this.events.filter((evt) => evt.did === did)
    await until(`there are ${n} events`, () => mine().length >= n || this.errors.length > 0).catch(() => {})
    assert.deepEqual(this.errors.map(explain), [])
    return mine().map(short)
  }

  /** Waits until the newest events of an account are these short texts. */
  async endsWith(did, want) {
    const newest = () => this.events.filter((evt) => evt.did === did).slice(-want.length).map(short)
    await until('the events are there', () => isDeepStrictEqual(newest(), want) || this.errors.length > 0).catch(() => {})
    assert.deepEqual(this.errors.map(explain), [])
    assert.deepEqual(newest(), want)
  }
}

function explain(err) {
  return `${err.message}: ${err.cause?.stack ?? err.cause}`
}

/** What a test compares of an event. */
export function short(evt) {
  switch (evt.event) {
    case 'create':
    case 'update':
      return `${evt.event} ${evt.collection}/${evt.rkey} ${evt.cid}`
    case 'delete':
      return `delete ${evt.collection}/${evt.rkey}`
    case 'identity':
      return `identity ${evt.handle}`
    case 'account':
      return `account ${evt.active ? 'active' : evt.status}`
    case 'sync':
      return `sync ${evt.rev} ${evt.cid}`
  }
}

/** The events of a new account, but for its #commit, which has no operation. */
export function creation(handle, { rev, cid }) {
  return [`identity ${handle}`, 'account active', `sync ${rev} ${cid}`]
}

/** Asserts that a call fails with the error that clients know by class or by name. */
export async function fails(promise, status, error) {
  await assert.rejects(promise, (err) => {
    assert.ok(err instanceof XRPCError, String(err?.stack ?? err))
    const name = typeof error === 'function' ? error.name.replace(/Error$/, '') : error
    assert.equal(`${err.status} ${err.error}`, `${status} ${name}`, err.message)
    if (typeof error === 'function') assert.ok(err instanceof error, `${err.name} is not ${error.name}`)
    return true
  })
}

export const pathOf = (uri) => uri.split('/').slice(3).join('/')
