// Two people at two phones, who sign in on our pages and chat.

import assert from 'node:assert/strict'
import { test } from 'node:test'

import { World } from '../clients/world.mjs'
import { launch } from '../oauth/chromium.mjs'
import { stage } from '../oauth/stage.mjs'
import { Visitor } from '../oauth/visitor.mjs'
import { Community } from './server.mjs'

const phone = { viewport: { width: 360, height: 740 } }

test('two people in two browsers', async (t) => {
  const world = await World.start(t)
  const server = await Community.start(world, '.test')
  stage.browser = await launch('nowhere.test', 9)
  await server.signUp('anna')
  await server.signUp('ben')
  const anna = await Visitor.arrive(t, phone)
  const ben = await Visitor.arrive(t, phone)

  /** Signs in at the client, by the pages of the server. */
  async function signIn(visitor, name, address = server.web) {
    await visitor.page.goto(address)
    await visitor.fill({ 'Your handle': `${name}.test` })
    await visitor.press('Sign in')
    await visitor.page.waitForURL(`${server.url}/oauth/**`)
    await visitor.consent(name)
    await visitor.page.waitForURL(`${server.web}/**`)
  }
  const hears = (visitor, text) => visitor.page.getByRole('log').getByText(text, { exact: true }).waitFor()
  const say = async (visitor, text) => {
    await visitor.fill({ Message: text })
    await visitor.press('Send')
  }
  const actions = async (visitor, text, action) => {
    const message = visitor.page.getByRole('article').filter({ hasText: text })
    await message.hover()
    await message.getByLabel('Actions').click()
    await message.getByRole('button', { name: action, exact: true }).click()
  }

  await anna.step(t, 'she founds a community', async () => {
    await anna.page.goto(server.web)
    await anna.page.getByLabel('Your handle').waitFor()
    await anna.look('community-welcome')
    await anna.page.setViewportSize(phone.viewport)
    await signIn(anna, 'anna')
    await anna.page.getByText('You are in no community yet').waitFor()
    await anna.press('New community')
    await anna.fill({ Title: 'The garden', 'Name, for its handle': 'garden', 'What it is about': 'Tomatoes' })
    await anna.press('Found it')
    await anna.page.getByText('There is no room yet').waitFor()
    await anna.press('New room')
    await anna.fill({ Name: 'The square' })
    await anna.press('Create')
    await anna.page.getByText('This is the beginning of the room.').waitFor()
  })

  await anna.step(t, 'he joins by her link', async () => {
    await anna.page.getByLabel('All rooms').click()
    await anna.press('Invite')
    await anna.press('Make a link')
    const link = await anna.page.getByLabel('The link, good for a week').inputValue()
    await anna.press('Close')
    await anna.page.getByRole('link', { name: 'The square' }).click()
    await signIn(ben, 'ben', link)
    await ben.page.getByRole('dialog').getByText('You become a member').waitFor()
    await ben.look('community-join')
    await ben.page.setViewportSize(phone.viewport)
    await ben.press('Join')
    await ben.page.getByRole('link', { name: 'The square' }).click()
    await ben.page.getByText('This is the beginning of the room.').waitFor()
  })

  await anna.step(t, 'they chat', async () => {
    await say(anna, 'Good morning!')
    await hears(ben, 'Good morning!')
    await ben.page.getByLabel('Message', { exact: true }).pressSequentially('Good', { delay: 20 })
    await anna.page.getByText('ben.test is typing…').waitFor()
    await say(ben, 'Godo morning, Anna')
    await hears(anna, 'Godo morning, Anna')
    await actions(ben, 'Godo', 'Edit')
    await ben.page.getByRole('dialog').getByLabel('Message').fill('Good morning, Anna')
    await ben.press('Save')
    await hears(anna, 'Good morning, Anna')
    await actions(anna, 'morning, Anna', '👍')
    await ben.page.getByRole('button', { name: '👍 1' }).waitFor()
    await actions(anna, 'morning, Anna', 'Reply')
    await say(anna, 'The first tomatoes are ripe, and there are more of them than anybody could eat. Who wants some?')
    await ben.page.locator('.quote').waitFor()
    await ben.page.getByLabel('Add a picture').setInputFiles({ name: 'red.png', mimeType: 'image/png', buffer: await painted(ben) })
    await ben.fill({ 'What the picture shows': 'A red square' })
    await say(ben, 'This one?')
    await anna.page.getByRole('img', { name: 'A red square' }).waitFor()
    await anna.page.waitForFunction(() => document.querySelector('img.picture')?.naturalWidth > 0)
    await say(ben, 'Spam')
    await hears(anna, 'Spam')
    await actions(anna, 'Spam', 'Delete')
    await anna.page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click()
    await ben.page.getByRole('log').getByText('Spam').waitFor({ state: 'detached' })
    await anna.page.waitForTimeout(100)
    await anna.look('community-room')
    const columns = await Promise.all(['#home', '#community', '#room'].map((id) => anna.page.locator(id).boundingBox()))
    columns.reduce((left, right) => {
      assert.ok(left.x + left.width <= right.x, `columns side by side: ${JSON.stringify(columns)}`)
      return right
    })
    await anna.page.setViewportSize(phone.viewport)
  })

  await anna.step(t, 'in a private room', async () => {
    await anna.page.getByLabel('All rooms').click()
    await anna.press('New room')
    await anna.fill({ Name: 'Surprise' })
    await anna.page.getByRole('radio', { name: /Private/ }).check()
    await anna.page.getByRole('checkbox', { name: 'ben.test' }).check()
    await anna.look('community-new-room')
    await anna.page.setViewportSize(phone.viewport)
    await anna.press('Create')
    await anna.page.getByText('Private · 2 in it').waitFor()
    await anna.page.getByLabel('Add a picture').setInputFiles({ name: 'red.png', mimeType: 'image/png', buffer: await painted(anna) })
    await say(anna, 'Only for us')
    await hears(anna, 'Only for us')
    await ben.page.getByLabel('All rooms').click()
    await ben.page.getByLabel('1 unread').waitFor()
    await ben.look('community-rooms')
    await ben.page.setViewportSize(phone.viewport)
    await ben.page.getByRole('link', { name: 'Surprise' }).click()
    await hears(ben, 'Only for us')
    await ben.page.waitForFunction(() => document.querySelector('img.picture')?.naturalWidth > 0)
    await actions(ben, 'Only for us', '🎉')
    await anna.page.getByRole('button', { name: '🎉 1' }).waitFor()
  })

  await anna.step(t, 'sessions last, streams come back', async () => {
    await server.kill()
    await ben.page.getByText('Connecting…').waitFor()
    await server.run()
    await ben.page.getByText('Connecting…').waitFor({ state: 'hidden' })
    await anna.page.reload()
    await hears(anna, 'Only for us')
    await say(anna, 'Still here?')
    await hears(ben, 'Still here?')
    for (const visitor of [anna, ben]) visitor.complaints = visitor.complaints.filter((text) => !text.includes('net::ERR_CONNECTION_REFUSED'))
  })

  await anna.step(t, 'she bans him', async () => {
    await anna.page.getByLabel('All rooms').click()
    await anna.page.getByRole('button', { name: 'Members' }).click()
    await anna.page.getByRole('dialog').getByText('ben.test').waitFor()
    await anna.look('community-members')
    await anna.page.setViewportSize(phone.viewport)
    await anna.press('Ban')
    await anna.fill({ 'Reason, for those who may ban': 'Spam' })
    await anna.press('Ban')
    await ben.page.getByText('You are not a member any more').waitFor()
    await ben.look('community-banned')
    await ben.page.setViewportSize(phone.viewport)
    await ben.press('Close')
    await anna.page.getByRole('button', { name: 'Members' }).click()
    await anna.page.getByRole('dialog').getByText('Spam').waitFor()
    await anna.press('Let back in')
    await ben.press('Sign out')
    await ben.page.getByLabel('Your handle').waitFor()
  })

  await ben.step(t, 'a server cannot send him anywhere but to a page by https', async () => {
    for (const endpoint of ['javascript:alert(1)', 'http://192.0.2.1/authorize', 'data:text/html,hello']) {
      await ben.page.route('**/.well-known/oauth-authorization-server', async (route) => {
        const answer = await route.fetch()
        await route.fulfill({ response: answer, json: { ...(await answer.json()), authorization_endpoint: endpoint } })
      })
      await ben.page.goto(server.web)
      await ben.fill({ 'Your handle': 'ben.test' })
      await ben.press('Sign in')
      await ben.page.getByText(`${endpoint} is not an address of a server`).waitFor()
      await ben.page.unroute('**/.well-known/oauth-authorization-server')
    }
  })
})

/** A picture that the browser makes. */
async function painted({ page }) {
  const base64 = await page.evaluate(() => {
    const canvas = document.createElement('canvas')
    canvas.width = canvas.height = 120
    const paint = canvas.getContext('2d')
    paint.fillStyle = 'crimson'
    paint.fillRect(0, 0, 120, 120)
    return canvas.toDataURL('image/png').split(',')[1]
  })
  return Buffer.from(base64, 'base64')
}
