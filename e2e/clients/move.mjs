// The steps of a move to another server, as the published guide has them, with
// nothing but the official client. And what an account has, to compare.

import { createHash } from 'node:crypto'

import { verifyRepoCar } from '@atproto/repo'

/**
 * Makes the account of oldAgent at a new server too, deactivated there, and
 * returns an agent that is signed in to it.
 */
export async function openAccount(oldAgent, server, { handle, email, password }) {
  const { data: auth } = await oldAgent.com.atproto.server.getServiceAuth({
    aud: server.did, lxm: 'com.atproto.server.createAccount',
  })
  await server.agent().com.atproto.server.createAccount(
    { did: oldAgent.assertDid, handle, email, password },
    { headers: { authorization: `Bearer ${auth.token}` }, encoding: 'application/json' },
  )
  return signIn(server, oldAgent.assertDid, password)
}

/** An agent that stays with a server, also when the DID document names another. */
export async function signIn(server, identifier, password) {
  const agent = server.agent()
  await agent.login({ identifier, password })
  agent.sessionManager.pdsUrl = new URL(server.url)
  return agent
}

export function importRepo(agent, car) {
  return agent.com.atproto.repo.importRepo(car, { encoding: 'application/vnd.ipld.car' })
}

export async function copyRepo(oldAgent, newAgent) {
  const { data: car } = await oldAgent.com.atproto.sync.getRepo({ did: oldAgent.assertDid })
  await importRepo(newAgent, car)
}

/** The blobs that a server says are missing there. */
export async function missingBlobs(agent) {
  const missing = []
  for (let cursor; ; ) {
    const { data } = await agent.com.atproto.repo.listMissingBlobs({ limit: 5, cursor })
    missing.push(...data.blobs)
    cursor = data.cursor
    if (!cursor || data.blobs.length === 0) return missing
  }
}

/** Copies the blobs that are missing and returns their CIDs as the new server sees them. */
export async function copyBlobs(oldAgent, newAgent) {
  const copied = []
  for (const { cid } of await missingBlobs(newAgent)) {
    const { data, headers } = await oldAgent.com.atproto.sync.getBlob({ did: oldAgent.assertDid, cid })
    const { data: uploaded } = await newAgent.uploadBlob(data, { encoding: headers['content-type'] })
    copied.push(uploaded.blob.ref.toString())
  }
  return copied.sort()
}

export async function copyPreferences(oldAgent, newAgent) {
  const { data } = await oldAgent.app.bsky.actor.getPreferences()
  await newAgent.app.bsky.actor.putPreferences(data)
}

/**
 * Moves a PLC identity by an operation that the old server signs, for the code
 * that it mails, and the new server submits. Keys of the owner go first.
 */
export async function moveIdentity(oldAgent, oldServer, newAgent, email, ownKeys = []) {
  await oldAgent.com.atproto.identity.requestPlcOperationSignature()
  const token = await oldServer.mailCode(email)
  const { data } = await newAgent.com.atproto.identity.getRecommendedDidCredentials()
  const { data: signed } = await oldAgent.com.atproto.identity.signPlcOperation({
    ...data, rotationKeys: [...ownKeys, ...data.rotationKeys], token,
  })
  await newAgent.com.atproto.identity.submitPlcOperation({ operation: signed.operation })
}

export async function listAll(agent, repo, collection) {
  const records = []
  for (let cursor; ; ) {
    const { data } = await agent.com.atproto.repo.listRecords({ repo, collection, limit: 100, cursor })
    records.push(...data.records.map(({ uri, cid }) => ({ uri, cid })))
    cursor = data.cursor
    if (!cursor) return records
  }
}

/** The records, blobs and preferences of an active account, in an order of their own. */
export async function contentOf(agent) {
  const did = agent.assertDid
  const { data: repo } = await agent.com.atproto.repo.describeRepo({ repo: did })
  const records = []
  for (const collection of repo.collections.sort()) records.push(...(await listAll(agent, did, collection)))
  const { data: list } = await agent.com.atproto.sync.listBlobs({ did })
  const blobs = await Promise.all(
    list.cids.sort().map(async (cid) => {
      const { data, headers } = await agent.com.atproto.sync.getBlob({ did, cid })
      return `${cid} ${headers['content-type']} ${createHash('sha256').update(data).digest('hex')}`
    }),
  )
  const { data: preferences } = await agent.app.bsky.actor.getPreferences()
  return { records, blobs, preferences: preferences.preferences }
}

/** The records in an export, whose signature and tree are verified. */
export async function exported(agent, signingKey) {
  const did = agent.assertDid
  const { data: car } = await agent.com.atproto.sync.getRepo({ did })
  const { creates } = await verifyRepoCar(car, did, signingKey)
  return creates.map(({ collection, rkey, cid }) => `at://${did}/${collection}/${rkey} ${cid}`).sort()
}
