// What the tests share: the example server in development mode at
// http://localhost, a PDS under a public name by https, places for apps in both
// worlds, and one browser.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import http from 'node:http'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { after } from 'node:test'

import { AtpAgent } from '@atproto/api'
import { Agent, setGlobalDispatcher } from 'undici'

import { Server, World, passwordOf } from '../clients/world.mjs'
import { launch } from './chromium.mjs'

export const bin = process.env.PDSKIT_E2E_BIN ?? new URL('../bin', import.meta.url).pathname

/** The domain of the world by https. */
export const domain = 'oauth-test.dev'

/** Apps have names below the domain, and addresses with a port at 127.0.0.1. */
class Apps {
  routes = new Map()
  posted = '' // the last form that somebody has sent

  async start() {
    this.server = http.createServer((req, res) => this.answer(req, res)).listen(0, '127.0.0.1')
    await once(this.server, 'listening')
    this.address = `127.0.0.1:${this.server.address().port}`
    this.origin = `http://${this.address}`
  }

  async answer(req, res) {
    if (req.method === 'POST') this.posted = Buffer.concat(await Array.fromAsync(req)).toString()
    const url = new URL(req.url, `http://${req.headers.host}`)
    const found = this.routes.get(url.host + url.pathname)
    if (!found) {
      res.writeHead(404).end()
      return
    }
    const type = found.type ?? 'text/html; charset=utf-8'
    res.writeHead(200, { 'content-type': type, 'cache-control': 'no-store' }).end(found.body)
  }

  /** Serves something at the address of an app. */
  serve(address, body, type) {
    const url = new URL(address)
    this.routes.set(url.host + url.pathname, { body, type })
  }

  serveJson(address, value) {
    this.serve(address, JSON.stringify(value), 'application/json')
  }
}

/** The PDS of the world by https. It has what tests use of a Server. */
class PublicServer {
  log = []
  url = `https://pds.${domain}`
  domain = `.pds.${domain}`
  plcUrl = `https://plc.${domain}`

  async start(apps, names) {
    const flags = names.map((name) => `-app=${name}.${domain}=${apps.address}`)
    this.process = spawn(join(bin, 'oauth-server'), flags, { stdio: ['pipe', 'pipe', 'pipe'] })
    createInterface(this.process.stderr).on('line', (line) => this.log.push(line))
    const [line] = await once(createInterface(this.process.stdout), 'line')
    Object.assign(this, JSON.parse(line)) // port and ca
    // The fetch of Node finds the names there, too.
    const connect = { ca: this.ca, lookup: (name, options, done) => done(null, [{ address: '127.0.0.1', family: 4 }]) }
    const inside = new Agent({ connect })
    const outside = new Agent()
    this.dispatcher = new Agent().compose((dispatch) => (options, handler) => {
      const origin = new URL(options.origin)
      if (!origin.hostname.endsWith(domain)) return outside.dispatch(options, handler)
      const headers = { ...Object.fromEntries(pairs(options.headers)), host: origin.host }
      origin.port = String(this.port)
      return inside.dispatch({ ...options, origin: origin.origin, headers }, handler)
    })
    setGlobalDispatcher(this.dispatcher)
    this.agents = [inside, outside]
  }

  async stop() {
    await Promise.all(this.agents.map((agent) => agent.destroy()))
    this.process.stdin.end()
    if (this.process.exitCode === null) await once(this.process, 'exit')
    assert.equal(this.process.exitCode, 0, this.log.slice(-20).join('\n'))
    assert.deepEqual(this.log.filter((line) => line.includes('"level":"ERROR"')), [])
  }

  signUp = Server.prototype.signUp

  agent() {
    return new AtpAgent({ service: this.url })
  }
}

/** Headers as undici gives them: an object, a flat list or an iterable of pairs. */
function pairs(headers) {
  if (!headers) return []
  if (!Array.isArray(headers)) return Symbol.iterator in headers ? [...headers] : Object.entries(headers)
  if (Array.isArray(headers[0])) return headers
  return headers.flatMap((name, i) => (i % 2 === 0 ? [[name, headers[i + 1]]] : []))
}

class Stage {
  /** Starts everything, at the first call. */
  ready() {
    this.starting ??= this.start()
    return this.starting
  }

  async start() {
    this.apps = new Apps()
    await this.apps.start()
    this.open = new PublicServer()
    await this.open.start(this.apps, ['atproto', 'atcute', 'indigo', 'indigo-key', 'page', 'trusted'])
    this.world = await World.start({ after: (stop) => this.stops.push(stop) })
    this.local = await Server.start(this.world, '.test')
    this.browser = await launch(domain, this.open.port)
    return this
  }

  stops = []

  async stop() {
    await this.browser?.close()
    for (const stop of this.stops) await stop()
    await this.open?.stop()
    this.apps?.server.close()
  }
}

export const stage = new Stage()

after(() => stage.stop())
export { passwordOf }
