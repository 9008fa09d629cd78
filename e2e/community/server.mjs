// The community server of the examples, as tests run it beside others.

import { join } from 'node:path'

import { Server } from '../clients/world.mjs'

const bin = process.env.PDSKIT_E2E_BIN ?? new URL('../bin', import.meta.url).pathname

export const namespace = 'dev.pdskit.community'

/** examples/community in a process of its own. */
export class Community extends Server {
  command() {
    const flags = {
      url: this.url,
      web: this.web,
      listen: `localhost:${this.port}`,
      domain: this.domain,
      data: this.dataDir,
      plc: this.plcUrl,
    }
    return [join(bin, 'community'), ...Object.entries(flags).map(([name, value]) => `-${name}=${value}`)]
  }

  get web() {
    return `http://127.0.0.1:${this.port}`
  }

  /** Ends the process without any warning. */
  async kill() {
    this.process.kill('SIGKILL')
    await new Promise((resolve) => this.process.once('exit', resolve))
  }
}

/** Somebody who calls the methods of a community through the own server. */
export class Member {
  constructor(agent, server) {
    this.agent = agent
    this.server = server
    this.did = agent.assertDid
    this.options = { headers: { 'atproto-proxy': `${server.did}#community` } }
  }

  async get(method, params) {
    return (await this.call(method, params)).data
  }

  async post(method, input) {
    return (await this.call(method, undefined, input)).data
  }

  /** The methods have lexicons of their own, which the client does not know. */
  async call(method, params, input) {
    const query = new URLSearchParams(params)
    const bytes = input instanceof Uint8Array
    const response = await this.agent.fetchHandler(`/xrpc/${namespace}.${method}?${query}`, {
      method: input ? 'POST' : 'GET',
      headers: { ...this.options.headers, ...(input && { 'content-type': bytes ? 'image/png' : 'application/json' }) },
      body: bytes ? input : input && JSON.stringify(input),
    })
    const data = await response.json().catch(() => undefined)
    if (!response.ok) throw Object.assign(new Error(data?.message), { status: response.status, error: data?.error })
    return { data }
  }

  /** Opens the stream of a community with a ticket and follows a room, from a cursor or from now on. */
  async watch(community, room, cursor) {
    // Without one it would begin when the server has come to it.
    cursor ??= (await this.get('getHistory', { community, room })).cursor
    const { subprotocol } = await this.post('getTicket', { lxm: `${namespace}.watch` })
    const url = `${this.server.url.replace('http', 'ws')}/xrpc/${namespace}.watch?community=${community}`
    const socket = new WebSocket(url, ['xrpc.v1.json', subprotocol])
    const stream = { socket, events: [] }
    socket.addEventListener('message', ({ data }) => stream.events.push(JSON.parse(data).payload))
    await new Promise((resolve, reject) => {
      socket.addEventListener('open', resolve)
      socket.addEventListener('error', reject)
    })
    socket.send(JSON.stringify({ $type: 'message', payload: { $type: `${namespace}.watch#follow`, room, cursor } }))
    stream.said = () => stream.events.filter((e) => e.data?.type === 'message').map((e) => e.data.text)
    return stream
  }
}
