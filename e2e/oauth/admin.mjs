// The pages for the administrator, looked at closely, and what is done on them
// without JavaScript.

import assert from 'node:assert/strict'
import { before, test } from 'node:test'

import { adminPassword } from '../clients/world.mjs'
import { stage } from './stage.mjs'
import { Visitor } from './visitor.mjs'

before(() => stage.ready())

for (const javaScriptEnabled of [true, false]) {
  test(`the administrator's pages ${javaScriptEnabled ? 'with' : 'without'} JavaScript`, async (t) => {
    const name = javaScriptEnabled ? 'oscar' : 'olive'
    const server = stage.local
    const agent = server.agent()
    const { data: account } = await agent.createAccount({
      handle: `${name}.test`, email: `${name}@example.com`, password: 'a first password',
    })
    await agent.post({ text: 'hello', createdAt: new Date().toISOString() })
    const subject = { $type: 'com.atproto.admin.defs#repoRef', did: account.did }
    await agent.com.atproto.moderation.createReport({
      reasonType: 'com.atproto.moderation.defs#reasonSpam', subject,
      reason: 'The same advertisement again and again, under every post of everybody that I follow. Please have a look.',
    })
    const visitor = await Visitor.arrive(t, { javaScriptEnabled })
    const { page } = visitor
    const look = (name) => javaScriptEnabled && visitor.look(`admin-${name}`)
    const section = async (title) => {
      await page.getByRole('navigation').getByRole('link', { name: title, exact: true }).click()
      await visitor.sees(title)
    }
    const done = () => page.getByRole('status').filter({ hasText: /\w/ }).first().waitFor()

    await visitor.step(t, 'signing in', async () => {
      await page.goto(`${server.url}/admin`)
      await visitor.sees('Administration')
      await look('sign-in')
      await visitor.fill({ "Administrator's password": 'a wrong one' })
      await visitor.press('Sign in')
      await page.getByRole('alert').waitFor()
      await look('sign-in-refused')
      await visitor.fill({ "Administrator's password": adminPassword })
      await visitor.press('Sign in')
      await visitor.sees('Overview')
      await look('home')
    })

    await visitor.step(t, 'an account', async () => {
      await section('Accounts')
      await look('accounts')
      await visitor.fill({ 'Handle, DID or e-mail address': 'nobody.test' })
      await visitor.press('Find')
      await page.getByRole('alert').waitFor()
      await look('accounts-none')
      await visitor.fill({ 'Handle, DID or e-mail address': `${name}@example.com` })
      await visitor.press('Find')
      await visitor.sees(`${name}.test`)
      await look('account')
      await page.getByLabel('Reference').fill('case 7')
      await visitor.press('Take down account')
      await done()
      await look('account-taken-down')
      await assert.rejects(agent.login({ identifier: account.did, password: 'a first password' }), /taken down/i)
      await visitor.press('Restore account')
      await done()
      await agent.login({ identifier: account.did, password: 'a first password' })
      await visitor.press('Send reset mail')
      await done()
      await server.mailCode(`${name}@example.com`)
    })

    await visitor.step(t, 'lists', async () => {
      await section('Invite codes')
      await visitor.fill({ 'Number of codes': '3' })
      await visitor.press('Create')
      await done()
      await look('invites')
      await page.getByRole('button', { name: /^Disable / }).first().click()
      await done()
      await section('Jobs')
      await look('jobs')
      await section('Reports')
      await look('reports')
      await page.getByRole('button', { name: /^Close report/ }).first().click()
      await done()
      await section('Events')
      await look('events')
      await section('Audit log')
      await look('audit')
    })

    await visitor.step(t, 'deleting an account', async () => {
      await page.goto(`${server.url}/admin/ui/accounts/${account.did}`)
      await page.getByRole('link', { name: /^Delete account/ }).click()
      await visitor.sees('Delete account')
      await look('delete')
      await visitor.fill({ [`To be sure, enter ${name}.test`]: `${name}.test` })
      await visitor.press('Delete account')
      await visitor.sees('Accounts')
      await done()
      await assert.rejects(agent.login({ identifier: account.did, password: 'a first password' }))
      await page.goto(`${server.url}/admin/ui/accounts/${account.did}`)
      await visitor.sees('Not found')
      await look('error')
    })

    await visitor.step(t, 'signing out', async () => {
      await visitor.press('Sign out')
      await visitor.sees('Administration')
      await page.goto(`${server.url}/admin/ui/accounts`)
      await visitor.sees('Administration')
    })
  })
}
