// What a room's log comes to. Its entries arrive from two sides: the newest one by
// one, and older ones in pages, from the end to the beginning. Of the entries with
// the id of a message the newest counts.

export class Log {
  messages = new Map() // by id: the newest entry of each
  reactions = new Map() // by id, emoji and author: the newest entry of each
  newest = 0
  oldest = Infinity
  complete = false // it is all here

  /** An entry that has just come. Reports whether something changed. */
  add({ seq, data, redacts }) {
    if (seq <= this.newest) return false
    this.newest = seq
    if (redacts) return this.remove(redacts)
    if (data?.type === 'message') this.messages.set(data.id, { ...data, seq })
    if (data?.type === 'reaction') this.reactions.set(keyOf(data), data)
    return true
  }

  /** A page of older entries, the newest first. */
  addOlder(entries) {
    for (const { seq, data } of entries) {
      this.newest = Math.max(this.newest, seq)
      this.oldest = Math.min(this.oldest, seq)
      if (data?.type === 'message' && !this.messages.has(data.id)) this.messages.set(data.id, { ...data, seq })
      if (data?.type === 'reaction' && !this.reactions.has(keyOf(data))) this.reactions.set(keyOf(data), data)
    }
    this.complete = entries.length === 0 || this.oldest === 1
  }

  remove(seq) {
    for (const [id, message] of this.messages) {
      if (message.seq === seq) return this.messages.delete(id)
    }
    return false
  }

  /** The messages to show, in order: none that others still to come belong before. */
  list() {
    const all = [...this.messages.values()].sort((a, b) => a.number - b.number)
    const first = this.complete ? undefined : all.find((m) => !m.edited)
    return first ? all.filter((m) => m.number >= first.number) : all
  }

  /** The reactions to a message: for each emoji by whom, with the keys of records. */
  reactionsTo(id) {
    const out = new Map()
    for (const r of this.reactions.values()) {
      if (r.id !== id || r.gone) continue
      if (!out.has(r.emoji)) out.set(r.emoji, new Map())
      out.get(r.emoji).set(r.author, r.key)
    }
    return out
  }
}

const keyOf = ({ id, emoji, author }) => `${id} ${emoji} ${author}`
