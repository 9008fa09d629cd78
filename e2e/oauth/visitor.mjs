// Somebody at a browser, who signs in and lets apps in. Every page that comes
// by must be free of errors in the console.

import assert from 'node:assert/strict'

import { passwordOf, stage } from './stage.mjs'

export class Visitor {
  complaints = []

  /** A new browser window without cookies, closed with the test. */
  static async arrive(t, options = {}) {
    const visitor = new Visitor()
    visitor.context = await stage.browser.newContext({ ignoreHTTPSErrors: true, ...options })
    visitor.context.setDefaultTimeout(8_000)
    visitor.context.on('console', (message) => visitor.hear(message))
    visitor.context.on('weberror', (error) => visitor.complaints.push(error.error().message))
    visitor.page = await visitor.context.newPage()
    t.after(async () => {
      if (t.passed === false) await visitor.report()
      await visitor.context.close()
      assert.deepEqual(visitor.complaints, [])
    })
    return visitor
  }

  /** Says where a test got stuck. */
  async report() {
    for (const page of this.context.pages()) {
      const text = await page.locator('body').innerText().catch(String)
      console.error(`at ${page.url()}:\n${text.replace(/^/gm, '  | ')}`)
    }
    for (const complaint of this.complaints) console.error(complaint)
  }

  hear(message) {
    const text = message.text()
    // A refused form is answered with its status, which the browser mentions.
    if (['error', 'warning'].includes(message.type()) && !/the server responded with a status of 4\d\d/.test(text)) {
      this.complaints.push(`${text} (${message.location().url})`)
    }
  }

  heading() {
    return this.page.getByRole('heading', { level: 1 })
  }

  /** Presses a button, and waits for where it leads. */
  async press(name, page = this.page) {
    await page.getByRole('button', { name, exact: true }).click()
  }

  async follow(name, page = this.page) {
    await page.getByRole('link', { name, exact: true }).click()
  }

  /** Enters the password of a page that asks for it, for the account that the app named. */
  async signIn(name, page = this.page) {
    await page.getByLabel('Password', { exact: true }).fill(passwordOf(name))
    await this.press('Sign in', page)
  }

  /** Goes through the request of an app that has named the account. */
  async consent(name, page = this.page) {
    await this.signIn(name, page)
    await this.press('Authorize', page)
  }

  /** Goes from the URL of a request through to the app. Returns the address there. */
  async allow(url, name, back) {
    await this.page.goto(String(url))
    await this.consent(name)
    await this.page.waitForURL((now) => now.href.startsWith(back))
    return new URL(this.page.url())
  }
}
