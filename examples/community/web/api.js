// The methods of the community server, called through the user's own server, and
// its stream.

import { Failure } from './oauth.js'

export class API {
  constructor(app, oauth) {
    this.app = app
    this.oauth = oauth
  }

  async call(name, init, params) {
    const query = new URLSearchParams()
    for (const [key, value] of Object.entries(params ?? {})) if (value !== undefined) query.set(key, value)
    const path = `/xrpc/${this.app.namespace}${name}${query.size ? `?${query}` : ''}`
    const headers = { ...init.headers, 'atproto-proxy': this.app.proxy }
    const response = await this.oauth.fetch(path, { ...init, headers })
    if (response.ok) return response
    const { error, message } = await response.json().catch(() => ({}))
    throw new Failure(response.status, error, message)
  }

  async get(name, params) {
    return (await this.call(name, { method: 'GET' }, params)).json()
  }

  async post(name, input) {
    const init = { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(input) }
    return (await this.call(name, init)).json()
  }

  async upload(name, file, params) {
    return (await this.call(name, { method: 'POST', headers: { 'Content-Type': file.type }, body: file }, params)).json()
  }

  /** The address of a picture; one in a private room is fetched. */
  async picture(community, room, { cid, id }) {
    if (cid) return `${this.app.pds}/xrpc/com.atproto.sync.getBlob?${new URLSearchParams({ did: community, cid })}`
    const response = await this.call('getPicture', { method: 'GET' }, { community, room, picture: id })
    return URL.createObjectURL(await response.blob())
  }
}

/**
 * The stream of a community. It connects again by itself until it is closed or
 * the server says that the membership has ended.
 */
export class Stream {
  pause = 1000

  constructor(api, community, on) {
    Object.assign(this, { api, community, on })
    this.online = () => this.waiting && this.retry()
    addEventListener('online', this.online)
    this.connect()
  }

  async connect() {
    const { app } = this.api
    let ticket
    try {
      ticket = await this.api.post('getTicket', { lxm: `${app.namespace}watch` })
    } catch (err) {
      this.again(err)
      return
    }
    if (this.closed) return
    const url = `${app.pds.replace(/^http/, 'ws')}/xrpc/${app.namespace}watch?${new URLSearchParams({ community: this.community })}`
    const socket = new WebSocket(url, ['xrpc.v1.json', ticket.subprotocol])
    this.socket = socket
    socket.onopen = () => {
      this.pause = 1000
      this.on.open()
    }
    socket.onmessage = ({ data }) => {
      const frame = JSON.parse(data)
      if (frame.$type === 'error') {
        if (!['NotAMember', 'RoleTooLow'].includes(frame.error)) return // it closes, and we come again
        this.close()
        this.on.expelled()
        return
      }
      const kind = frame.payload.$type.split('#')[1]
      this.on[kind]?.(frame.payload)
    }
    socket.onclose = () => this.again()
  }

  again(err) {
    if (this.closed) return
    this.on.down(err)
    this.waiting = setTimeout(() => this.retry(), this.pause * (0.5 + Math.random()))
    this.pause = Math.min(2 * this.pause, 30_000)
  }

  retry() {
    clearTimeout(this.waiting)
    this.waiting = undefined
    if (!this.closed) this.connect()
  }

  send(kind, payload) {
    if (this.socket?.readyState !== WebSocket.OPEN) return
    this.socket.send(JSON.stringify({ $type: 'message', payload: { $type: `${this.api.app.namespace}watch#${kind}`, ...payload } }))
  }

  close() {
    this.closed = true
    removeEventListener('online', this.online)
    this.socket?.close()
  }
}
