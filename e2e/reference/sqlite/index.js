// The part of better-sqlite3 that the reference server uses, by the SQLite that
// is in Node. So the peer runs where nothing can be compiled. Rows, values and
// error codes are those of better-sqlite3.
'use strict'

const { DatabaseSync } = require('node:sqlite')

/** Names of the extended result codes that the reference server asks for. */
const codes = {
  5: 'SQLITE_BUSY',
  261: 'SQLITE_BUSY_RECOVERY',
  517: 'SQLITE_BUSY_SNAPSHOT',
  773: 'SQLITE_BUSY_TIMEOUT',
  1555: 'SQLITE_CONSTRAINT_PRIMARYKEY',
  2067: 'SQLITE_CONSTRAINT_UNIQUE',
}

function named(call) {
  try {
    return call()
  } catch (err) {
    if (err.errcode) err.code = codes[err.errcode] ?? `SQLITE_${err.errcode}`
    throw err
  }
}

function rowOf(row) {
  return Object.fromEntries(
    Object.entries(row).map(([name, value]) => [
      name,
      value instanceof Uint8Array ? Buffer.from(value.buffer, value.byteOffset, value.byteLength) : value,
    ]),
  )
}

class Statement {
  constructor(statement) {
    this.statement = statement
    this.reader = statement.columns().length > 0
  }

  all(parameters) {
    return named(() => this.statement.all(...parameters)).map(rowOf)
  }

  run(parameters) {
    return named(() => this.statement.run(...parameters))
  }

  *iterate(parameters) {
    const rows = named(() => this.statement.iterate(...parameters))
    for (;;) {
      const { done, value } = named(() => rows.next())
      if (done) return
      yield rowOf(value)
    }
  }
}

module.exports = class Database {
  constructor(location, { timeout }) {
    this.db = named(() => new DatabaseSync(location, { timeout, enableForeignKeyConstraints: false }))
  }

  pragma(text) {
    named(() => this.db.exec(`PRAGMA ${text}`))
  }

  prepare(sql) {
    return new Statement(named(() => this.db.prepare(sql)))
  }

  close() {
    this.db.close()
  }
}
