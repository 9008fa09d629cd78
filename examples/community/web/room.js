// A room on the screen: its messages, and the form to write one.

import { $, ask, dateOf, el, field, timeOf } from './dom.js'

const emojis = ['👍', '❤️', '😂', '🎉', '😮', '😢']
const pageLength = 50
const together = 5 * 60_000 // messages of one author this close have one heading

const maxPictureBytes = 2 << 20 // of the server
const maxPictureEdge = 2048

/**
 * A picture that is small enough to be sent, without what a camera has noted beside
 * it, such as the place. One that moves stays as it is.
 */
async function shrink(file) {
  if (file.type === 'image/gif' && file.size <= maxPictureBytes) return file
  const bitmap = await createImageBitmap(file)
  const scale = Math.min(1, maxPictureEdge / Math.max(bitmap.width, bitmap.height))
  const canvas = new OffscreenCanvas(Math.ceil(bitmap.width * scale), Math.ceil(bitmap.height * scale))
  canvas.getContext('2d').drawImage(bitmap, 0, 0, canvas.width, canvas.height)
  const png = file.type === 'image/png' && await canvas.convertToBlob({ type: 'image/png' })
  return png && png.size <= maxPictureBytes ? png : canvas.convertToBlob({ type: 'image/jpeg', quality: 0.85 })
}

export class RoomView {
  pictures = new Map() // addresses, by id or CID
  nodes = new Map() // of messages, with what they were drawn from

  constructor(client) {
    this.client = client
    $('composer').addEventListener('submit', (event) => {
      event.preventDefault()
      this.send()
    })
    $('text').addEventListener('keydown', (event) => {
      if (event.key === 'Enter' && !event.shiftKey && !event.isComposing && matchMedia('(hover: hover)').matches) {
        event.preventDefault()
        this.send()
      }
    })
    $('text').addEventListener('input', () => this.typed())
    $('file').addEventListener('change', () => this.attach($('file').files[0]))
    $('attached').querySelector('button').addEventListener('click', () => this.attach())
    $('replying').querySelector('button').addEventListener('click', () => this.reply())
    $('older').addEventListener('click', () => this.older())
    $('newest').addEventListener('click', () => this.toEnd())
    $('scroll').addEventListener('scroll', () => {
      this.following = this.atEnd()
      if (this.following) $('newest').hidden = true
    })
    new ResizeObserver(() => this.following && this.toEnd()).observe($('scroll')) // a keyboard takes room
    document.addEventListener('visibilitychange', () => this.read())
    // Menus close by Escape, and when something else is chosen.
    document.addEventListener('keydown', ({ key }) => key === 'Escape' && this.closeMenus(true))
    document.addEventListener('click', ({ target }) => target.closest('.actions') || this.closeMenus())
  }

  closeMenus(focus) {
    for (const menu of document.querySelectorAll('.actions[open]')) {
      menu.open = false
      if (focus) menu.firstChild.focus()
    }
  }

  atEnd() {
    const { scrollHeight, scrollTop, clientHeight } = $('scroll')
    return scrollHeight - scrollTop - clientHeight < 80
  }

  toEnd() {
    $('scroll').scrollTop = $('scroll').scrollHeight
    $('newest').hidden = true
  }

  get community() {
    return this.client.community.community
  }

  /** Shows a room, or none. */
  show(room) {
    const changed = room?.room !== this.room?.room
    this.room = room
    if (!room) return
    $('room-name').textContent = room.name
    $('room-about').textContent = room.private ? `Private · ${room.members.length} in it` : 'Public'
    $('room-back').href = `#/c/${this.community}`
    $('composer').hidden = !this.client.atLeast('member')
    $('read-only').hidden = !$('composer').hidden
    if (!changed) return
    this.reply()
    this.attach()
    $('problem').textContent = ''
    $('log').replaceChildren()
    this.nodes.clear()
    this.last = undefined
    if (room.log.oldest === Infinity) this.older()
    this.draw()
    this.drawTyping()
    this.toEnd()
    if (!$('composer').hidden && matchMedia('(hover: hover)').matches) $('text').focus()
  }

  /** The stream has left something out: what is here of the room is thrown away. */
  reload(room) {
    room.log = new room.log.constructor()
    if (room !== this.room) return
    this.nodes.clear()
    this.older()
  }

  /** Loads the page before what is here. */
  async older() {
    const { room } = this
    if (room.loading) return
    room.loading = true
    $('older').disabled = true
    try {
      const before = room.log.oldest === Infinity ? undefined : room.log.oldest
      const { entries } = await this.client.api.get('getHistory', { community: this.community, room: room.room, before, limit: pageLength })
      room.log.addOlder(entries)
      if (room !== this.room) return
      const { scrollHeight, scrollTop } = $('scroll')
      $('log').ariaLive = 'off' // what is old is not read out
      this.draw()
      setTimeout(() => ($('log').ariaLive = 'polite'), 500)
      if (before) $('scroll').scrollTop = scrollTop + $('scroll').scrollHeight - scrollHeight
    } catch (err) {
      $('problem').textContent = err.message
    } finally {
      room.loading = false
      $('older').disabled = false
    }
  }

  /** Draws the messages. Those that look as before keep their nodes. */
  draw() {
    const { log } = this.room
    const atEnd = this.atEnd()
    const before = this.last
    $('older').hidden = log.complete || log.oldest === Infinity
    $('beginning').hidden = !log.complete
    const list = []
    const kept = new Map()
    let last
    for (const message of log.list()) {
      const day = dateOf(message.sent)
      if (!last || dateOf(last.sent) !== day) list.push(el('h3', { className: 'day' }, day))
      const headed = !last || last.author !== message.author || new Date(message.sent) - new Date(last.sent) > together || Boolean(message.reply) || dateOf(last.sent) !== day
      const reactions = log.reactionsTo(message.id)
      const looks = JSON.stringify([message, headed, [...reactions].map(([emoji, by]) => [emoji, [...by.keys()]]), message.reply && log.messages.get(message.reply)?.text])
      const old = this.nodes.get(message.id)
      const node = old?.looks === looks ? old.node : this.message(message, headed, reactions)
      kept.set(message.id, { node, looks })
      list.push(node)
      last = message
    }
    this.nodes = kept
    const container = $('log')
    list.forEach((node, i) => container.children[i] !== node && container.insertBefore(node, container.children[i] ?? null))
    while (container.children.length > list.length) container.lastChild.remove()
    this.last = last?.number
    if (atEnd) this.toEnd()
    else if (before && this.last > before) $('newest').hidden = false
    this.read()
  }

  message(message, headed, reactions) {
    const { client } = this
    const mine = message.author === client.me.did
    const node = el('article', { className: `message${headed ? ' headed' : ''}${mine ? ' mine' : ''}`, tabIndex: -1 })
    if (headed) {
      const time = el('time', { dateTime: message.sent }, timeOf(message.sent))
      node.append(client.avatar(message.author), el('header', {}, el('b', {}, client.name(message.author)), ' ', time))
    }
    const body = el('div', { className: 'body' })
    if (message.reply) body.append(this.quote(message.reply))
    if (message.text) body.append(el('p', { className: 'text', dir: 'auto' }, message.text))
    if (message.edited) body.append(el('small', {}, 'edited'))
    if (message.picture) body.append(this.picture(message.picture))
    if (reactions.size) body.append(this.reactions(message, reactions))
    node.append(body)
    if (client.atLeast('member')) node.append(this.actions(message, mine, reactions))
    return node
  }

  quote(id) {
    const original = this.room.log.messages.get(id)
    const text = original ? original.text || 'A picture' : 'A message that is not here'
    const jump = () => this.nodes.get(id)?.node.focus()
    return el('button', { type: 'button', className: 'quote', onclick: jump }, original ? this.client.name(original.author) : '', ' ', el('bdi', {}, text.slice(0, 120)))
  }

  picture(picture) {
    const key = picture.cid ?? picture.id
    const img = el('img', { alt: picture.alt || 'A picture that nobody has described', className: 'picture' })
    const link = el('a', {
      href: '#', onclick: (event) => {
        event.preventDefault()
        ask('Picture', [el('img', { src: img.src, alt: img.alt, className: 'large' }), el('p', { dir: 'auto' }, picture.alt)])
      },
    }, img)
    if (!this.pictures.has(key)) this.pictures.set(key, this.client.api.picture(this.community, this.room.room, picture))
    this.pictures.get(key).then((address) => (img.src = address), () => {
      this.pictures.delete(key) // to be tried again when it is drawn again
      link.replaceWith('This picture cannot be shown.')
    })
    img.addEventListener('load', () => {
      const { scrollHeight, scrollTop, clientHeight } = $('scroll')
      if (scrollHeight - scrollTop - clientHeight < img.height + 80) this.toEnd()
    })
    return link
  }

  reactions(message, reactions) {
    const { me } = this.client
    return el('p', { className: 'reactions' }, ...[...reactions].map(([emoji, by]) => {
      const own = by.has(me.did)
      return el('button', {
        type: 'button', 'aria-pressed': String(own), 'aria-label': `${emoji} ${by.size}`, disabled: !this.client.atLeast('member'),
        onclick: () => this.react(message, emoji, by),
      }, emoji, ` ${by.size}`)
    }))
  }

  actions(message, mine, reactions) {
    const menu = el('details', { className: 'actions' }, el('summary', { 'aria-label': 'Actions', title: 'Actions' }, '⋯'))
    const add = (label, action) => menu.lastChild.append(el('button', {
      type: 'button', onclick: () => {
        menu.open = false
        action()
      },
    }, label))
    menu.append(el('div', { className: 'menu' }))
    for (const emoji of emojis) add(emoji, () => this.react(message, emoji, reactions.get(emoji) ?? new Map()))
    add('Reply', () => this.reply(message))
    if (mine) add('Edit', () => this.edit(message))
    if (mine || this.client.atLeast('moderator')) add('Delete', () => this.remove(message))
    menu.addEventListener('toggle', () => {
      if (!menu.open) return
      for (const other of document.querySelectorAll('.actions[open]')) if (other !== menu) other.open = false
      menu.lastChild.scrollIntoView({ block: 'nearest' })
    })
    return menu
  }

  drawTyping() {
    const people = [...(this.room?.typing.keys() ?? [])]
    const names = people.map((did) => this.client.nameOf(did, () => this.drawTyping()))
    $('typing').textContent = names.length > 2 ? 'Several people are typing…' : names.length ? `${names.join(' and ')} ${names.length > 1 ? 'are' : 'is'} typing…` : ''
  }

  /** Notes that all of the room has been read, if somebody is looking. */
  read() {
    const { room } = this
    if (!room || document.hidden || room.read >= room.count) return
    room.read = room.count
    clearTimeout(room.marking)
    room.marking = setTimeout(() => {
      this.client.api.post('markRead', { community: this.community, room: room.room, number: room.read }).catch(() => {})
    }, 500)
    this.client.drawRooms()
  }

  typed() {
    const field = $('text')
    field.style.height = 'auto'
    field.style.height = `${Math.min(field.scrollHeight, 200)}px`
    if (field.value && Date.now() - (this.lastTyped ?? 0) > 3000) {
      this.lastTyped = Date.now()
      this.client.stream.send('typing', { room: this.room.room })
    }
  }

  reply(message) {
    this.replyTo = message?.id
    $('replying').hidden = !message
    if (!message) return
    $('replying').querySelector('span').textContent = `Reply to ${this.client.nameOf(message.author)}: ${message.text.slice(0, 60)}`
    $('text').focus()
  }

  async attach(chosen) {
    $('problem').textContent = ''
    const file = chosen && await shrink(chosen).catch(() => {
      $('problem').textContent = 'This is not a picture that can be sent.'
    })
    this.file = file
    if (!file) $('file').value = ''
    $('attached').hidden = !file
    $('alt').value = ''
    if (file) {
      $('attached').querySelector('img').src = URL.createObjectURL(file)
      $('alt').focus()
    }
  }

  async send() {
    const { room, file, replyTo } = this
    const text = $('text').value.trim()
    if (!text && !file) return
    const message = { room: room.room }
    if (text) message.text = text
    if (replyTo) message.reply = replyTo
    $('send').disabled = true
    $('problem').textContent = ''
    try {
      const alt = $('alt').value
      if (file && room.private) {
        const { id } = await this.client.api.upload('uploadPicture', file, { community: this.community, room: room.room })
        Object.assign(message, { picture: id, alt })
      } else if (file) {
        const { blob } = await this.client.api.upload('uploadBlob', file, { repo: this.community })
        message.picture = { image: blob, alt }
      }
      if (room.private) await this.client.api.post('sendMessage', { community: this.community, ...message })
      else await this.client.record('message', message)
      $('text').value = ''
      this.lastTyped = 0
      this.typed()
      this.reply()
      this.attach()
      this.toEnd()
    } catch (err) {
      $('problem').textContent = err.message
    } finally {
      $('send').disabled = false
      $('text').focus()
    }
  }

  /** Does something about a message and shows what was wrong. */
  async act(action) {
    $('problem').textContent = ''
    try {
      await action(this.room.room, this.room.private)
    } catch (err) {
      $('problem').textContent = err.message
    }
  }

  deleteRecord(collection, rkey) {
    return this.client.api.post('deleteRecord', { repo: this.community, collection: this.client.app.namespace + collection, rkey })
  }

  react(message, emoji, by) {
    const undo = by.has(this.client.me.did)
    return this.act((room, isPrivate) => {
      if (isPrivate) return this.client.api.post('reactTo', { community: this.community, room, id: message.id, emoji, undo })
      if (undo) return this.deleteRecord('reaction', by.get(this.client.me.did))
      return this.client.record('reaction', { room, message: message.id, emoji })
    })
  }

  edit(message) {
    const text = field('Message', 'text', { tag: 'textarea', rows: 4, value: message.text })
    const { room } = this
    ask('Edit', [text], 'Save', async (form) => {
      const changed = form.get('text').trim()
      if (room.private) {
        await this.client.api.post('editMessage', { community: this.community, room: room.room, id: message.id, text: changed })
        return
      }
      // The record is replaced: what it has besides stays.
      const { app } = this.client
      const collection = `${app.namespace}message`
      const query = new URLSearchParams({ repo: this.community, collection, rkey: message.id })
      const { value } = await (await fetch(`${app.pds}/xrpc/com.atproto.repo.getRecord?${query}`)).json()
      await this.client.api.post('putRecord', { repo: this.community, collection, rkey: message.id, record: { ...value, text: changed } })
    })
  }

  remove(message) {
    ask('Delete this message?', [el('p', {}, message.text || 'A picture')], 'Delete', async () => {
      if (!this.room.private) await this.deleteRecord('message', message.id)
      else await this.client.api.post('deleteMessage', { community: this.community, room: this.room.room, id: message.id })
    })
  }
}
