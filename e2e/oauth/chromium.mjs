// The browser: Chromium as the package @sparticuz/chromium carries it, with the
// libraries and fonts that it needs, so that it runs on a bare machine without a
// display.

import { existsSync } from 'node:fs'
import { mkdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'

import { inflate } from '@sparticuz/chromium'
import { chromium } from 'playwright-core'

const folder = new URL('../bin/chromium', import.meta.url).pathname

/** Unpacks the package once. It always does so into the temporary folder. */
async function unpack() {
  if (existsSync(folder)) return
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    throw new Error(
      `the package has no Chromium for ${process.platform} on ${process.arch}: ` +
        'set PDSKIT_E2E_CHROMIUM to a headless Chromium of this machine',
    )
  }
  const packed = new URL('node_modules/@sparticuz/chromium/bin/', import.meta.url).pathname
  const unfinished = `${folder}.${process.pid}`
  const { TMPDIR } = process.env
  await mkdir(unfinished, { recursive: true })
  process.env.TMPDIR = unfinished
  try {
    await Promise.all(
      ['chromium.br', 'al2023.tar.br', 'fonts.tar.br', 'swiftshader.tar.br'].map((name) => inflate(join(packed, name))),
    )
    await rename(unfinished, folder)
  } finally {
    if (TMPDIR === undefined) delete process.env.TMPDIR
    else process.env.TMPDIR = TMPDIR
    await rm(unfinished, { recursive: true, force: true })
  }
}

/**
 * Starts the browser. Names below a domain lead to a port of this machine, and
 * all others but localhost nowhere.
 */
export async function launch(domain, port) {
  let executablePath = process.env.PDSKIT_E2E_CHROMIUM
  const env = { ...process.env }
  if (!executablePath) {
    await unpack()
    executablePath = join(folder, 'chromium')
    env.LD_LIBRARY_PATH = join(folder, 'al2023', 'lib')
  }
  return chromium.launch({
    executablePath,
    env,
    chromiumSandbox: false, // there is none for root
    args: [
      `--host-resolver-rules=MAP *.${domain} 127.0.0.1:${port}, MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1`,
      '--disable-gpu',
      '--font-render-hinting=none',
    ],
  })
}
