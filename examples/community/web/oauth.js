// Signing in by atproto's OAuth: a public client whose tokens are bound to a key
// that never leaves the browser (DPoP). The session is kept in IndexedDB.

const encoder = new TextEncoder()

const base64url = (bytes) =>
  btoa(String.fromCharCode(...new Uint8Array(bytes))).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')
const random = () => base64url(crypto.getRandomValues(new Uint8Array(32)))
const sha256 = async (text) => base64url(await crypto.subtle.digest('SHA-256', encoder.encode(text)))

/** A small store for values that structured cloning can take, keys included. */
const database = new Promise((resolve, reject) => {
  const open = indexedDB.open('communities', 1)
  open.onupgradeneeded = () => open.result.createObjectStore('values')
  open.onsuccess = () => resolve(open.result)
  open.onerror = () => reject(open.error)
})

async function stored(mode, action) {
  const request = action((await database).transaction('values', mode).objectStore('values'))
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result)
    request.onerror = () => reject(request.error)
  })
}

const load = (key) => stored('readonly', (values) => values.get(key))
const save = (key, value) => stored('readwrite', (values) => values.put(value, key))
const forget = (key) => stored('readwrite', (values) => values.delete(key))

/** A fetch whose failure says what it means to people. */
async function reach(url, init) {
  try {
    return await fetch(url, init)
  } catch {
    throw new Failure(0, 'Unreachable', navigator.onLine ? 'The server cannot be reached. Please try again.' : 'You are offline. Please try again later.')
  }
}

export async function fetchJSON(url, init) {
  const response = await reach(url, init)
  const body = await response.json().catch(() => ({}))
  if (!response.ok) throw new Failure(response.status, body.error, body.message ?? body.error_description)
  return body
}

/**
 * An address that somebody's server has named, if it is one to talk to or to go to:
 * by https, or on this machine while the client itself is in development.
 */
function addressOf(text) {
  const url = new URL(text)
  const here = location.protocol === 'http:' && ['localhost', '127.0.0.1', '[::1]'].includes(url.hostname)
  if (url.protocol !== 'https:' && !(url.protocol === 'http:' && here)) throw new Error(`${text} is not an address of a server`)
  return url
}

/** What a server refused. */
export class Failure extends Error {
  constructor(status, name, message) {
    super(message || name || `The server answered ${status}`)
    this.status = status
    this.name = name
  }
}

/** Nonces that servers gave for the next proof, by origin. */
const nonces = new Map()

/** A request with a proof of the key (RFC 9449), again if the server wants a nonce. */
async function withProof(key, url, init, token) {
  const { origin, pathname } = new URL(url)
  for (let again = false; ; again = true) {
    const jwk = await crypto.subtle.exportKey('jwk', key.publicKey)
    const header = { typ: 'dpop+jwt', alg: 'ES256', jwk: { kty: jwk.kty, crv: jwk.crv, x: jwk.x, y: jwk.y } }
    const claims = { jti: random(), htm: init.method ?? 'GET', htu: origin + pathname, iat: Math.floor(Date.now() / 1000) }
    if (nonces.has(origin)) claims.nonce = nonces.get(origin)
    if (token) claims.ath = await sha256(token)
    const input = [header, claims].map((part) => base64url(encoder.encode(JSON.stringify(part)))).join('.')
    const signature = await crypto.subtle.sign({ name: 'ECDSA', hash: 'SHA-256' }, key.privateKey, encoder.encode(input))
    const headers = { ...init.headers, DPoP: `${input}.${base64url(signature)}` }
    if (token) headers.Authorization = `DPoP ${token}`
    const response = await reach(url, { ...init, headers })
    const nonce = response.headers.get('DPoP-Nonce')
    if (nonce) nonces.set(origin, nonce)
    if (again || !nonce || response.ok || (response.status !== 400 && response.status !== 401)) return response
    const wanted = (response.headers.get('WWW-Authenticate') ?? '') + (await response.clone().text())
    if (!wanted.includes('use_dpop_nonce')) return response
  }
}

const form = (values) => ({
  method: 'POST',
  headers: { 'Content-Type': 'application/x-www-form-urlencoded' },
  body: new URLSearchParams(values).toString(),
})

async function post(key, url, values) {
  const response = await withProof(key, url, form(values))
  const body = await response.json().catch(() => ({}))
  if (!response.ok) throw new Failure(response.status, body.error, body.error_description)
  return body
}

export class OAuth {
  constructor(app) {
    this.app = app
  }

  /** Who is behind a handle or DID, and at which server. */
  async identify(identifier) {
    const url = `${this.app.pds}/xrpc/com.atproto.identity.resolveIdentity?identifier=${encodeURIComponent(identifier)}`
    const { did, handle, didDoc } = await fetchJSON(url)
    const service = didDoc.service?.find((s) => s.id.endsWith('#atproto_pds'))
    if (!service) throw new Error(`${identifier} has no server`)
    return { did, handle, pds: addressOf(service.serviceEndpoint).origin }
  }

  /** The authorization server of a PDS: its issuer and endpoints. */
  async authorizationServer(pds) {
    const resource = await fetchJSON(`${pds}/.well-known/oauth-protected-resource`, { redirect: 'error' })
    const [issuer] = resource.authorization_servers
    const metadata = await fetchJSON(`${addressOf(issuer).origin}/.well-known/oauth-authorization-server`, { redirect: 'error' })
    if (metadata.issuer !== issuer) throw new Error('The server names another issuer')
    const server = { issuer }
    for (const name of ['authorization', 'pushed_authorization_request', 'token', 'revocation']) {
      server[`${name}_endpoint`] = addressOf(metadata[`${name}_endpoint`]).href
    }
    return server
  }

  /** Leaves for the pages of the user's server; without a handle to sign up here. */
  async begin(handle) {
    const who = handle ? await this.identify(handle) : { pds: this.app.pds }
    const server = await this.authorizationServer(who.pds)
    const key = await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, false, ['sign'])
    const pending = { key, state: random(), verifier: random(), issuer: server.issuer, server, back: location.hash }
    const { request_uri: request } = await post(key, server.pushed_authorization_request_endpoint, {
      client_id: this.app.clientId,
      redirect_uri: this.app.redirectUri,
      scope: this.app.scope,
      response_type: 'code',
      code_challenge: await sha256(pending.verifier),
      code_challenge_method: 'S256',
      state: pending.state,
      ...(handle ? { login_hint: handle } : { prompt: 'create' }),
    })
    await save('pending', pending)
    const page = new URL(server.authorization_endpoint)
    page.searchParams.set('client_id', this.app.clientId)
    page.searchParams.set('request_uri', request)
    location.assign(page)
  }

  /** Comes back from there, if the address says so, and restores the session. */
  async resume() {
    const answer = new URLSearchParams(location.search)
    if (answer.has('state')) {
      const pending = await load('pending')
      await forget('pending')
      history.replaceState(null, '', location.pathname + (pending?.back ?? ''))
      if (!pending || answer.get('state') !== pending.state || answer.get('iss') !== pending.issuer) {
        throw new Error('This was not the answer to a sign-in from here')
      }
      if (answer.has('error')) throw new Error(answer.get('error_description') ?? answer.get('error'))
      await this.exchange(pending, answer.get('code'))
    }
    this.session ??= await load('session')
    return this.session
  }

  async exchange({ key, verifier, issuer, server }, code) {
    const tokens = await post(key, server.token_endpoint, {
      grant_type: 'authorization_code',
      client_id: this.app.clientId,
      redirect_uri: this.app.redirectUri,
      code,
      code_verifier: verifier,
    })
    // Whoever has given the tokens must be the one who may speak for the account.
    const who = await this.identify(tokens.sub)
    if ((await this.authorizationServer(who.pds)).issuer !== issuer) throw new Error('The account is at another server')
    await this.keep({ ...who, key, server }, tokens)
  }

  async keep(session, tokens) {
    this.session = { ...session, access: tokens.access_token, refresh: tokens.refresh_token }
    await save('session', this.session)
  }

  /** Gets new tokens; of several calls at a time one does. */
  renew() {
    this.renewing ??= navigator.locks
      .request('communities-session', async () => {
        const before = this.session.refresh
        this.session = (await load('session')) ?? this.session
        if (this.session.refresh !== before) return // another tab did
        const { key, server, refresh } = this.session
        const values = { grant_type: 'refresh_token', client_id: this.app.clientId, refresh_token: refresh }
        await this.keep(this.session, await post(key, server.token_endpoint, values))
      })
      .finally(() => (this.renewing = undefined))
    return this.renewing
  }

  /** A request to the user's own server. */
  async fetch(path, init = {}) {
    for (let again = false; ; again = true) {
      const { key, pds, access } = this.session
      const response = await withProof(key, pds + path, init, access)
      if (response.status !== 401 || again) return response
      await this.renew()
    }
  }

  async end() {
    const { key, server, refresh } = this.session
    await post(key, server.revocation_endpoint, { client_id: this.app.clientId, token: refresh }).catch(() => {})
    await forget('session')
    this.session = undefined
  }
}
