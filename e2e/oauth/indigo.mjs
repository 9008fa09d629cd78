// Apps made with indigo's client, in processes of their own.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { before, test } from 'node:test'

import { bin, domain, stage } from './stage.mjs'
import { Visitor } from './visitor.mjs'

before(() => stage.ready())

for (const [title, name, flags] of [
  ['public', 'indigo', []],
  ['with a key', 'indigo-key', ['-key']],
]) {
  test(`indigo, ${title}`, async (t) => {
    const { session } = await stage.open.signUp(name)
    const origin = `https://${name}.${domain}`
    const folder = await mkdtemp(join(tmpdir(), 'pdskit-e2e-'))
    t.after(() => rm(folder, { recursive: true }))
    const ca = join(folder, 'ca.pem')
    await writeFile(ca, stage.open.ca)
    const app = spawn(
      join(bin, 'oauth-indigo'),
      [`-port=${stage.open.port}`, `-ca=${ca}`, `-origin=${origin}`, `-handle=${session.handle}`, ...flags],
      { stdio: ['pipe', 'pipe', 'inherit'] },
    )
    t.after(() => app.kill())
    const exit = once(app, 'exit')
    const lines = createInterface(app.stdout)[Symbol.asyncIterator]()
    const next = async () => {
      const { value, done } = await lines.next()
      assert.ok(!done, 'the app has ended')
      return JSON.parse(value)
    }

    const { client, keys } = await next()
    stage.apps.serveJson(client.client_id, client)
    if (client.jwks_uri) stage.apps.serveJson(client.jwks_uri, keys)
    const [redirect] = client.redirect_uris
    stage.apps.serve(redirect, 'The app goes on.')
    app.stdin.write('go\n')
    const visitor = await Visitor.arrive(t)
    const back = await visitor.allow(await next(), name, redirect)
    app.stdin.write(`${back}\n`)

    const { account, scopes, uri, renewed, afterRenewal, refused } = await next()
    assert.equal(account, session.did)
    assert.deepEqual(scopes.sort(), ['atproto', 'repo:app.bsky.feed.post'])
    for (const written of [uri, afterRenewal]) assert.match(written, new RegExp(`^at://${session.did}/app.bsky.feed.post/`))
    assert.ok(renewed)
    assert.equal(refused.length, 2)
    assert.match(refused[1], /invalid_grant/)
    assert.deepEqual(await exit, [0, null])
  })
}
