// The official client in Node.

import { NodeOAuthClient, requestLocalLock } from '@atproto/oauth-client-node'

import { stage } from './stage.mjs'

/** A store that copies, as one on disk would. */
class CopyStore extends Map {
  set(key, value) {
    super.set(key, structuredClone(value))
  }
  del(key) {
    this.delete(key)
  }
}

/** A client of a server, with the store of its sessions. */
export function officialClient(server, clientMetadata, more = {}) {
  const sessions = new CopyStore()
  const client = new NodeOAuthClient({
    clientMetadata,
    allowHttp: server.url.startsWith('http:'),
    plcDirectoryUrl: server.plcUrl ?? stage.world.plcUrl,
    handleResolver: server.url,
    requestLock: requestLocalLock,
    stateStore: new CopyStore(),
    sessionStore: sessions,
    ...more,
  })
  return { client, sessions }
}
