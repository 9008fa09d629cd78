// Somebody at a browser, who signs in and lets apps in. The browser must have
// nothing to complain of, in its console or by axe.

import assert from 'node:assert/strict'
import { mkdir, readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { join } from 'node:path'

import { passwordOf, stage } from './stage.mjs'

const shots = new URL('../shots', import.meta.url).pathname
const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
const rules = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']

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
      await visitor.context.close()
      assert.deepEqual(visitor.complaints, [])
    })
    return visitor
  }

  /** A part of a test, which needs the parts before it. */
  async step(t, title, run) {
    await t.test(title, async (t) => {
      assert.ok(!this.stuck, 'an earlier step has failed')
      try {
        await run(t)
      } catch (err) {
        this.stuck = true
        const text = await this.page.locator('body').innerText().catch(String)
        throw new Error(`at ${this.page.url()}:\n${text.replace(/^/gm, '  | ')}`, { cause: err })
      }
    })
  }

  hear(message) {
    const text = message.text()
    // A refused form is answered with its status, which the browser mentions.
    if (['error', 'warning'].includes(message.type()) && !/the server responded with a status of 4\d\d/.test(text)) {
      this.complaints.push(`${text} (${message.location().url})`)
    }
  }

  /** Waits for a page by its heading. */
  async sees(heading) {
    await this.page.getByRole('heading', { level: 1, name: heading }).waitFor()
  }

  /**
   * Looks at a page closely: by axe, and for what a small window cuts off. The
   * pictures are for people.
   */
  async look(name) {
    const { page } = this
    await mkdir(shots, { recursive: true })
    for (const width of [360, 1280]) {
      await page.setViewportSize({ width, height: 800 })
      for (const colorScheme of ['light', 'dark']) {
        await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' })
        await page.screenshot({ path: join(shots, `${name}.${width}.${colorScheme}.png`), fullPage: true })
        // Colors do not change with the width, nor the order of things with the colors.
        if ((width === 360) === (colorScheme === 'light')) await this.examine(`${name}, ${width} wide, ${colorScheme}`)
      }
    }
  }

  async examine(where) {
    const { page } = this
    const beyond = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)
    if (beyond > 0) this.complaints.push(`${where}: ${beyond} pixels too wide`)
    await page.evaluate(axe)
    const { violations } = await page.evaluate((values) => globalThis.axe.run(document, { runOnly: values }), rules)
    for (const { help, nodes } of violations) this.complaints.push(`${where}: ${help}: ${nodes.map((n) => n.html).join(' ')}`)
  }

  /** Fills in a form by its labels; true and false are for boxes to tick. */
  async fill(fields, page = this.page) {
    for (const [label, value] of Object.entries(fields)) {
      const field = page.getByLabel(label, { exact: true })
      if (typeof value === 'boolean') await field.setChecked(value)
      else await field.fill(value)
    }
  }

  /** Presses a button. */
  async press(name, page = this.page) {
    await page.getByRole('button', { name, exact: true }).click()
  }

  async follow(name, page = this.page) {
    await page.getByRole('link', { name, exact: true }).click()
  }

  /** Enters the password of a page that asks for it, for the account that the app named. */
  async signIn(name, page = this.page) {
    await this.fill({ Password: passwordOf(name) }, page)
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
