// Every page, on the ways on which people come by: once with JavaScript, where
// each page is looked at closely, and once without.

import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { before, test } from 'node:test'

import { OAuthCallbackError, buildAtprotoLoopbackClientMetadata } from '@atproto/oauth-client-node'

import { officialClient } from './official.mjs'
import { domain, stage } from './stage.mjs'
import { Visitor } from './visitor.mjs'

before(() => stage.ready())

const scope =
  'atproto account:email identity:handle account:repo?action=manage repo:app.bsky.feed.post repo:com.example.note?action=create ' +
  'blob:image/* rpc:app.bsky.feed.getTimeline?aud=* transition:chat.bsky'

/** A program on the user's machine that asks for much. */
function program(name, more = {}) {
  const redirect = `${stage.apps.origin}/${name}`
  stage.apps.serve(redirect, 'The program goes on.')
  const { client } = officialClient(stage.local, buildAtprotoLoopbackClientMetadata({ scope, redirect_uris: [redirect] }), more)
  return {
    client,
    redirect,
    authorize: async (options) => String(await client.authorize(stage.local.url, options)),
  }
}

for (const javaScriptEnabled of [true, false]) {
  test(`all pages ${javaScriptEnabled ? 'with' : 'without'} JavaScript`, async (t) => {
    const name = javaScriptEnabled ? 'terry' : 'penny'
    const app = program(name)
    const visitor = await Visitor.arrive(t, { javaScriptEnabled })
    const { page } = visitor
    const look = (name) => javaScriptEnabled && visitor.look(name)
    const backAtApp = async () => {
      await page.waitForURL((url) => url.href.startsWith(app.redirect))
      return new URL(page.url()).searchParams
    }
    const server = stage.local
    const login = (identifier, password) => server.agent().login({ identifier, password })
    let email = `${name}@example.com`
    let password = 'a first password'
    let handle = `${name}.test`

    await visitor.step(t, 'making an account', async () => {
      await page.goto(await app.authorize({ state: 'first' }))
      await visitor.sees('Welcome')
      await look('welcome')
      await visitor.follow('Create account')
      await visitor.sees('Create an account')
      await look('sign-up')
      await visitor.fill({ Handle: 'admin', 'E-mail address': email, Password: password })
      await visitor.press('Create account')
      await page.getByRole('alert').waitFor()
      await look('sign-up-refused')
      await visitor.fill({ Handle: name, 'E-mail address': email, Password: password })
      if (javaScriptEnabled) {
        await page.getByText('Available').waitFor()
        assert.equal(await page.locator('.field.wrong, [aria-invalid]').count(), 0)
        await look('sign-up-free')
      }
      await visitor.press('Create account')
      await visitor.sees(/asks for access to your account$/)
      await page.getByText('Technical details').click()
      for (const details of await page.getByText('Show details').all()) await details.click()
      await look('consent')
    })

    await visitor.step(t, 'declining', async () => {
      await visitor.press('Deny')
      await assert.rejects(app.client.callback(await backAtApp()), (err) => {
        assert.ok(err instanceof OAuthCallbackError, String(err))
        return err.params.get('error') === 'access_denied' && err.state === 'first'
      })
    })

    await visitor.step(t, 'a new password for a forgotten one', async () => {
      await page.goto(await app.authorize())
      await visitor.follow('Sign in')
      await visitor.sees('Sign in')
      await look('sign-in')
      await visitor.fill({ 'Handle or e-mail address': name, Password: 'forgotten' })
      await visitor.press('Sign in')
      await page.getByRole('alert').waitFor()
      await look('sign-in-refused')
      await visitor.follow('Forgot password?')
      await visitor.sees('Reset your password')
      await look('reset-request')
      await visitor.fill({ 'E-mail address': email })
      await visitor.press('Send code')
      await visitor.sees('Choose a new password')
      const code = await server.mailCode(email)
      await look('reset-password')
      await visitor.fill({ 'Code from the e-mail': 'AAAAA-AAAAA', 'New password': 'a second password' })
      await visitor.press('Change password')
      await page.getByRole('alert').waitFor()
      await look('reset-password-refused')
      await visitor.fill({ 'Code from the e-mail': code, 'New password': 'a second password' })
      await visitor.press('Change password')
      password = 'a second password'
      await visitor.sees('Sign in')
      await page.getByRole('status').waitFor()
      await look('sign-in-after-reset')
    })

    await visitor.step(t, 'allowing less than was asked for', async () => {
      await visitor.fill({ 'Handle or e-mail address': email, Password: password, 'Stay signed in': true })
      await visitor.press('Sign in')
      await visitor.sees(/asks for access to your account$/)
      await page.getByRole('checkbox').setChecked(false)
      await visitor.press('Authorize')
      const { session } = await app.client.callback(await backAtApp())
      const granted = (await session.getTokenInfo(false)).scope.split(' ')
      assert.deepEqual(granted.sort(), scope.split(' ').filter((s) => s !== 'account:email').sort())
    })

    await visitor.step(t, 'choosing an account', async () => {
      await page.goto(await app.authorize({ prompt: 'select_account' }))
      await visitor.sees('Choose an account')
      await look('account-picker')
      await page.getByRole('button', { name: handle }).click()
      await visitor.sees(/asks for access to your account$/)
      await visitor.press('Authorize')
      await app.client.callback(await backAtApp())
    })

    await visitor.step(t, 'another language', async () => {
      await page.goto(await app.authorize({ prompt: 'login', ui_locales: 'es' }))
      await visitor.sees('Iniciar sesión')
      await page.getByText('Español').first().click()
      await visitor.press('Deutsch')
      await visitor.sees('Anmelden')
      await look('sign-in-german')
      await page.getByText('Deutsch').first().click()
      await visitor.press('English')
      await visitor.sees('Sign in')
    })

    await visitor.step(t, 'an answer by a form', async () => {
      const app = program(`${name}-form`, { responseMode: 'form_post' })
      await page.goto(await app.authorize({ prompt: 'select_account' }))
      await page.getByRole('button', { name: handle }).click()
      await visitor.press('Authorize')
      if (!javaScriptEnabled) await visitor.press('Continue')
      await page.waitForURL(app.redirect)
      const { session } = await app.client.callback(new URLSearchParams(stage.apps.posted))
      assert.ok(session.did)
    })

    await visitor.step(t, 'a request that is gone', async () => {
      const url = new URL(await app.authorize())
      url.searchParams.set('request_uri', `urn:ietf:params:oauth:request_uri:req-${'0'.repeat(32)}`)
      await page.goto(url.href)
      await page.getByRole('heading', { level: 1 }).waitFor()
      await look('error')
    })

    await visitor.step(t, 'a browser that keeps no cookies', async () => {
      const other = await Visitor.arrive(t, { javaScriptEnabled })
      await other.page.goto(await app.authorize())
      await other.follow('Sign in')
      await other.context.clearCookies()
      await other.fill({ 'Handle or e-mail address': name, Password: password })
      await other.press('Sign in')
      await other.page.getByRole('heading', { level: 1, name: /cookies/i }).waitFor()
      if (javaScriptEnabled) await other.look('cookies')
    })

    await t.test('the account manager', async (t) => {
      const section = async (title) => {
        if (!(await page.getByRole('link', { name: title, exact: true }).first().isVisible())) await visitor.follow('Account')
        await page.getByRole('link', { name: title, exact: true }).first().click()
        await visitor.sees(title)
      }
      const done = () => page.getByRole('status').filter({ hasText: /\w/ }).first().waitFor()
      await page.goto(`${server.url}/account`)
      await look('accounts')
      await page.getByRole('link', { name: handle }).click()
      await visitor.sees('Account')
      await look('account')

      await visitor.step(t, 'handle', async () => {
        await section('Handle')
        await look('account-handle')
        await visitor.fill({ Handle: `${name}-renamed` })
        await visitor.press('Change handle')
        await done()
        handle = `${name}-renamed.test`
        assert.equal((await login(handle, password)).data.handle, handle)
        await visitor.fill({ 'Your domain': 'somebody.invalid' })
        await visitor.press('Verify and use')
        await page.getByRole('alert').waitFor()
        assert.deepEqual(await page.locator('[aria-invalid]').evaluateAll((fields) => fields.map((f) => f.labels[0].innerText)), ['Your domain'])
        await look('account-handle-refused')
      })

      await visitor.step(t, 'e-mail address', async () => {
        await section('E-mail address')
        await look('account-email')
        await visitor.press('Send me a code to confirm it')
        const code = await server.mailCode(email)
        await visitor.fill({ 'Code from the e-mail': code })
        await visitor.press('Confirm address')
        await page.getByText('Confirmed', { exact: true }).waitFor()
        const next = `${name}-new@example.com`
        await visitor.fill({ 'New e-mail address': next })
        await visitor.press('Change address')
        const change = await server.mailCode(email)
        await page.getByLabel('Code from the e-mail').waitFor()
        await look('account-email-code')
        await visitor.fill({ 'Code from the e-mail': change })
        await visitor.press('Change address')
        await page.getByText(next).first().waitFor()
        email = next
      })

      await visitor.step(t, 'password', async () => {
        await section('Password')
        await look('account-password')
        await visitor.fill({ 'Current password': password, 'New password': 'a third password' })
        await visitor.press('Change password')
        await done()
        password = 'a third password'
        await login(handle, password)
      })

      await visitor.step(t, 'app passwords', async () => {
        await section('App passwords')
        await visitor.fill({ Name: 'an old app' })
        await visitor.press('Make an app password')
        await page.getByText('shown only once').waitFor()
        await look('account-app-passwords')
        const made = await page.locator('.secret code').innerText()
        await login(handle, made)
        await visitor.press('Revoke an old app')
        await done()
        await assert.rejects(login(handle, made))
      })

      await visitor.step(t, 'connected apps', async () => {
        await page.goto(await app.authorize({ prompt: 'select_account' }))
        await page.getByRole('button', { name: handle }).click()
        await visitor.press('Authorize')
        const { session } = await app.client.callback(await backAtApp())
        await page.goto(`${server.url}/account`)
        await page.getByRole('link', { name: handle }).click()
        await section('Connected apps')
        await look('account-apps')
        const revoke = page.getByRole('button', { name: /^Revoke access of/ })
        for (let left = await revoke.count(); left > 0; left--) {
          assert.equal(await revoke.count(), left)
          await revoke.first().click()
          await done()
        }
        assert.equal((await session.fetchHandler('/xrpc/com.atproto.server.getSession')).status, 401)
      })

      await visitor.step(t, 'devices', async () => {
        const other = await Visitor.arrive(t, { javaScriptEnabled, userAgent: 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0' })
        await other.page.goto(`${server.url}/account/sign-in`)
        await other.fill({ 'Handle or e-mail address': handle, Password: password, 'Stay signed in': true })
        await other.press('Sign in')
        await other.sees('Account')
        await section('Devices')
        await look('account-devices')
        await page.getByRole('button', { name: /^Sign out .*Firefox/ }).click()
        await done()
        await other.page.reload()
        await other.sees('Sign in')
      })

      await visitor.step(t, 'export', async () => {
        await section('Export data')
        await look('account-export')
        const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('link', { name: /^Public data|CAR|Repository|posts/i }).first().click()])
        const car = await readFile(await download.path())
        assert.ok(car.includes('roots') && car.length > 200, `${car.length} bytes`)
      })

      await visitor.step(t, 'a break', async () => {
        await section('Deactivate account')
        await look('account-deactivate')
        await visitor.fill({ 'Yes, deactivate my account': true })
        await visitor.press('Deactivate account')
        await done()
        await look('account-deactivated')
        await visitor.press('Reactivate account')
        await done()
      })

      await visitor.step(t, 'a break that ends on the way to an app', async () => {
        await section('Deactivate account')
        await visitor.fill({ 'Yes, deactivate my account': true })
        await visitor.press('Deactivate account')
        await done()
        await page.goto(await app.authorize({ prompt: 'select_account' }))
        await page.getByRole('button', { name: handle }).click()
        await visitor.sees('Your account is deactivated')
        await look('reactivate')
        await visitor.press('Reactivate account')
        await visitor.sees(/asks for access to your account$/)
        await visitor.press('Authorize')
        await app.client.callback(await backAtApp())
      })

      await visitor.step(t, 'the end', async () => {
        await page.goto(`${server.url}/account`)
        await page.getByRole('link', { name: handle }).click()
        await section('Delete account')
        await look('account-delete')
        await visitor.press('Send me a code')
        const code = await server.mailCode(email)
        await page.getByLabel('Code from the e-mail').waitFor()
        await look('account-delete-code')
        await visitor.fill({ 'Code from the e-mail': code, 'Current password': password, 'Yes, delete my account for good': true })
        await visitor.press('Delete account')
        await visitor.sees('Sign in')
        await assert.rejects(login(handle, password))
      })
    })
  })
}

/** An app of the web, at an origin. */
function webApp(origin, scope, more = {}) {
  const metadata = {
    client_id: `${origin}/client.json`,
    client_name: 'The name of an app',
    client_uri: origin,
    redirect_uris: [`${origin}/callback`],
    scope,
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    application_type: 'web',
    token_endpoint_auth_method: 'none',
    dpop_bound_access_tokens: true,
    ...more,
  }
  stage.apps.serveJson(metadata.client_id, metadata)
  stage.apps.serve(metadata.redirect_uris[0], 'The app goes on.')
  return officialClient(stage.open, metadata).client
}

test('what an app of the web asks for', async (t) => {
  const { session } = await stage.open.signUp('long-handled-alice')
  const client = webApp(`https://page.${domain}`, 'atproto transition:generic transition:chat.bsky transition:email')
  const visitor = await Visitor.arrive(t)
  const { page } = visitor
  await page.goto(String(await client.authorize(session.handle)))
  await visitor.look('sign-in-for-account')
  await visitor.signIn('long-handled-alice')
  await visitor.sees(/asks for access to your account$/)
  assert.equal(await page.getByText('The name of an app').count(), 0)
  await page.getByText('Technical details').click()
  await visitor.look('consent-web')
})

test('a trusted app, and an account with terms', async (t) => {
  const origin = `https://trusted.${domain}`
  const logo = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><circle cx="4" cy="4" r="4" fill="teal"/></svg>'
  stage.apps.serve(`${origin}/logo.svg`, logo, 'image/svg+xml')
  const pages = { logo_uri: `${origin}/logo.svg`, tos_uri: `${origin}/terms`, policy_uri: `${origin}/privacy` }
  const client = webApp(origin, 'atproto repo:app.bsky.feed.post', pages)
  const visitor = await Visitor.arrive(t)
  const { page } = visitor
  await page.goto(String(await client.authorize(stage.open.url, { prompt: 'create' })))
  await visitor.sees('Create an account')
  await visitor.fill({ Handle: 'newcomer', 'E-mail address': 'newcomer@example.com', Password: 'a first password' })
  await visitor.look('sign-up-terms')
  await page.getByLabel(/terms/i).check()
  await visitor.press('Create account')
  await visitor.sees('The name of an app asks for access to your account')
  assert.ok(await page.locator('img.tile').evaluate((image) => image.complete && image.naturalWidth > 0))
  await visitor.look('consent-trusted')
  await visitor.press('Authorize')
  await page.waitForURL(`${origin}/callback?*`)
})

/** The code that an authenticator app shows (RFC 6238). */
function codeOf(secret, steps = 0) {
  const bits = [...secret.replace(/\s/g, '')].map((c) => 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'.indexOf(c).toString(2).padStart(5, '0')).join('')
  const key = Buffer.from(bits.match(/.{8}/g).map((byte) => parseInt(byte, 2)))
  const counter = Buffer.alloc(8)
  counter.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 30_000) + steps))
  const mac = createHmac('sha1', key).update(counter).digest()
  return String((mac.readUInt32BE(mac.at(-1) & 15) & 0x7fffffff) % 1_000_000).padStart(6, '0')
}

for (const javaScriptEnabled of [true, false]) {
  test(`a second factor ${javaScriptEnabled ? 'with' : 'without'} JavaScript`, async (t) => {
    const name = javaScriptEnabled ? 'factor' : 'factor-plain'
    const { session } = await stage.open.signUp(name)
    const visitor = await Visitor.arrive(t, { javaScriptEnabled })
    const { page } = visitor
    const look = (name) => javaScriptEnabled && visitor.look(name)
    const enter = async () => {
      await page.goto(`${stage.open.url}/account/sign-in`)
      await visitor.fill({ 'Handle or e-mail address': session.handle })
      await visitor.signIn(name)
    }
    await enter()
    await visitor.sees('Account')
    await page.getByRole('link', { name: 'Two-step sign-in' }).first().click()
    await look('account-factors-none')
    await visitor.press('Add an authenticator app')
    await page.getByLabel('Code that the app shows').waitFor()
    await look('account-factors-new')
    const secret = await page.locator('.secret code').innerText()
    await visitor.fill({ 'Code that the app shows': codeOf(secret) })
    await visitor.press('Turn on')
    await page.getByText('they are shown only now').waitFor()
    await look('account-factors-codes')
    const recovery = await page.locator('.codes code').allInnerTexts()
    await visitor.press('Sign out')

    const second = async (code) => {
      await page.getByRole('textbox').fill(code)
      await visitor.press('Continue')
    }
    await enter()
    await visitor.sees('Confirm it’s you')
    await look('second-factor')
    await second('000000')
    await page.getByRole('alert').waitFor()
    await look('second-factor-refused')
    await visitor.press('Recovery code')
    await look('second-factor-recovery')
    await second(recovery[0])
    await visitor.sees('Account')
    await visitor.press('Sign out')

    await enter()
    await second(codeOf(secret, 1)) // each is good once
    await visitor.sees('Account')
    await page.getByRole('link', { name: 'Two-step sign-in' }).first().click()
    await look('account-factors')
    await visitor.press('Remove')
    await page.getByText('Signing in takes only your password').waitFor()
  })
}
