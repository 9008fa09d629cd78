// The reference server, as tests run it beside ours.

import { join } from 'node:path'

import { Server } from './world.mjs'

const main = new URL('../reference/main.mjs', import.meta.url).pathname

/**
 * @atproto/pds in a process of its own, with the methods of Server. A test
 * starts one in its world: await Reference.start(world, '.ref.test').
 */
export class Reference extends Server {
  command() {
    return [process.execPath, main]
  }

  environment() {
    return {
      ...super.environment(),
      NODE_NO_WARNINGS: '1', // Node's SQLite calls itself experimental
      NODE_COMPILE_CACHE: new URL('../reference/node_modules/.cache', import.meta.url).pathname,
      PDS_HOSTNAME: 'localhost',
      PDS_SERVICE_DID: `did:web:localhost%3A${this.port}`,
      PDS_BLOBSTORE_DISK_LOCATION: join(this.dataDir, 'blobs'),
      PDS_BLOBSTORE_DISK_TMP_LOCATION: join(this.dataDir, 'temp'),
      // Without an app view it has no preferences. Nobody listens there.
      PDS_BSKY_APP_VIEW_URL: 'http://localhost:9',
      PDS_BSKY_APP_VIEW_DID: 'did:web:appview.test',
      // It logs the mail that it cannot send.
      LOG_ENABLED: 'true',
      LOG_LEVEL: 'debug',
    }
  }

  /** The mail that the server would have sent, oldest first. */
  mail() {
    return this.entries()
      .filter((entry) => entry.name === 'pds:mailer')
      .map((entry) => JSON.parse(JSON.parse(entry.msg.slice(entry.msg.indexOf('\n'))).message))
      .map(({ to, subject, html, text }) => ({ to: to[0].address, subject, text: text ?? html }))
  }

  /** What it answered with status 500. It logs all failures as errors, also those of callers and of other services. */
  faults() {
    return this.entries().filter((entry) => (entry.status ?? entry.res?.statusCode) === 500)
  }
}
