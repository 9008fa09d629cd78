// The client: who is signed in, which community and room are shown.

import { API, Stream } from './api.js'
import { Log } from './log.js'
import { OAuth, fetchJSON } from './oauth.js'
import { RoomView } from './room.js'
import { $, ask, avatar, checkbox, el, field, mark } from './dom.js'

const roleNames = { guest: 'Guest', member: 'Member', moderator: 'Moderator', owner: 'Owner' }
const ranks = Object.keys(roleNames)

class Client {
  names = new Map() // handles by DID
  communities = []
  present = new Set()

  async start() {
    try {
      await this.begin()
    } catch (err) {
      $('loading').replaceChildren(el('p', {}, err.message), el('button', { onclick: () => location.reload() }, 'Try again'))
    }
  }

  async begin() {
    this.app = await fetchJSON('/app.json')
    this.oauth = new OAuth(this.app)
    this.api = new API(this.app, this.oauth)
    this.view = new RoomView(this)
    $('sign-in').addEventListener('submit', (event) => {
      event.preventDefault()
      this.signIn($('handle').value.trim().replace(/^@/, ''))
    })
    $('sign-up').addEventListener('click', () => this.signIn())
    $('sign-out').addEventListener('click', () => this.signOut())
    $('new-community').addEventListener('click', () => this.askCommunity())
    $('new-invite').addEventListener('click', () => this.askInvite())
    // These ask the server first.
    const failed = (err) => ask('That did not work', [el('p', {}, err.message)])
    $('new-room').addEventListener('click', () => this.askRoom().catch(failed))
    $('show-members').addEventListener('click', () => this.showMembers().catch(failed))
    $('room-people').addEventListener('click', () => this.showPeople().catch(failed))
    window.addEventListener('hashchange', () => this.route())
    try {
      this.me = await this.oauth.resume()
    } catch (err) {
      $('sign-in-problem').textContent = err.message
    }
    this.me ? await this.enter() : await this.welcome()
  }

  async welcome() {
    document.body.dataset.view = 'welcome'
    $('loading').hidden = true
    $('welcome').hidden = false
    const [kind, repo] = this.place()
    if (kind !== 'join') return
    const about = $('sign-in').querySelector('p')
    about.textContent = 'You are invited. Sign in to join.'
    const query = new URLSearchParams({ repo, collection: `${this.app.namespace}profile`, rkey: 'self' })
    const { value } = await fetchJSON(`${this.app.pds}/xrpc/com.atproto.repo.getRecord?${query}`).catch(() => ({}))
    if (value) about.textContent = `You are invited to ${value.title}. Sign in to join.`
  }

  async signIn(handle) {
    $('sign-in-problem').textContent = ''
    for (const button of $('sign-in').querySelectorAll('button')) button.disabled = true
    try {
      await this.oauth.begin(handle)
    } catch (err) {
      $('sign-in-problem').textContent = err.message
    }
    for (const button of $('sign-in').querySelectorAll('button')) button.disabled = false
  }

  async signOut() {
    this.leave()
    await this.oauth.end()
    location.assign(location.pathname)
  }

  async enter() {
    $('welcome').hidden = true
    $('loading').hidden = true
    $('app').hidden = false
    this.names.set(this.me.did, this.me.handle)
    $('me').replaceChildren(avatar(this.me.handle, this.me.did), el('span', {}, this.me.handle))
    await this.listCommunities()
    await this.route()
  }

  async listCommunities() {
    try {
      this.communities = (await this.api.get('listCommunities')).communities
    } catch (err) {
      if (err.status === 401 || err.status === 400) return this.signOut() // the session has ended
      throw err
    }
    this.drawCommunities()
  }

  drawCommunities() {
    $('no-communities').hidden = this.communities.length > 0
    $('communities').replaceChildren(
      ...this.communities.map((c) =>
        el('li', {}, el('a', { href: `#/c/${c.community}`, 'aria-current': c.community === this.community?.community ? 'page' : 'false' },
          avatar(c.title, c.community), el('bdi', { className: 'name' }, c.title))),
      ),
    )
  }

  place() {
    return location.hash.slice(2).split('/')
  }

  /** Shows what the address says: #/, #/c/<community>, #/c/<community>/<room>, #/join/<community>/<code>. */
  async route() {
    if (!this.me) return
    const [kind, did, rest] = this.place()
    if (kind === 'join') return this.join(did, rest)
    if (kind !== 'c') {
      this.leave()
      document.body.dataset.view = 'home'
      document.title = 'Communities'
      return
    }
    if (this.community?.community !== did) await this.open(did)
    if (!this.community) return
    const room = this.rooms.get(rest)
    document.body.dataset.view = room ? 'room' : 'community'
    document.title = room ? `${room.name} · ${this.community.title}` : this.community.title
    this.view.show(room)
    this.drawRooms()
  }

  /** Goes to a place, without its making a step in the browser's history. */
  go(hash) {
    history.replaceState(null, '', hash)
    return this.route()
  }

  /** Shows what an invite leads to, and accepts it if that is wanted. */
  async join(community, code) {
    await this.go('#/')
    try {
      const { title, handle, role } = await this.api.get('getInvite', { community, code })
      ask(`Join ${title}?`, [
        el('p', {}, `This is ${handle}. You become a ${roleNames[role].toLowerCase()}${role === 'guest' ? ', who reads along' : ''}.`),
        el('p', { className: 'hint' }, 'Its members see that you are there. What is said in its public rooms, everybody can read.'),
      ], 'Join', async () => {
        await this.api.post('acceptInvite', { community, code })
        await this.listCommunities()
        location.hash = `#/c/${community}`
      })
    } catch (err) {
      if (err.name === 'AlreadyAMember') await this.go(`#/c/${community}`)
      else ask('This invite does not work', [el('p', {}, err.message)])
    }
  }

  /** Opens a community and its stream. */
  async open(did) {
    this.leave()
    this.rooms = new Map()
    this.community = { community: did }
    try {
      await this.refresh()
    } catch (err) {
      this.community = undefined
      await this.listCommunities()
      await this.go('#/')
      ask('There is nothing to see', [el('p', {}, err.message)])
      return
    }
    this.drawCommunities()
    this.stream = new Stream(this.api, did, {
      open: () => {
        $('connection').textContent = ''
        this.following = new Set()
        this.refresh().catch(() => this.stream?.socket.close()) // which begins anew
      },
      down: (err) => {
        if (err?.status === 400 || err?.status === 401) this.signOut() // the session has ended
        else $('connection').textContent = navigator.onLine ? 'Connecting…' : 'You are offline.'
      },
      expelled: () => this.expelled(),
      message: (event) => this.hear(event),
      redaction: (event) => this.hear(event),
      gap: ({ topic }) => this.roomOf(topic) && this.view.reload(this.roomOf(topic)),
      signal: (event) => this.sense(event),
      signalsReset: () => this.present.clear(),
      lost: ({ room }) => this.following.delete(room),
    })
  }

  leave() {
    this.stream?.close()
    this.stream = this.community = this.following = undefined
    $('connection').textContent = ''
    this.present.clear()
    this.view.show()
    this.drawCommunities()
  }

  async expelled() {
    if (!this.community) return
    const { title } = this.community
    await this.go('#/')
    await this.listCommunities()
    ask('You are not a member any more', [el('p', {}, `Your membership of ${title} has ended.`)])
  }

  /** Asks for the community again, and follows the rooms that are new. */
  async refresh() {
    const { community } = this.community
    const { rooms, ...about } = await this.api.get('getCommunity', { community })
    if (this.community?.community !== community) return
    this.community = about
    const before = this.rooms
    this.rooms = new Map(rooms.map((r) => {
      const old = before.get(r.room)
      if (!old) return [r.room, { ...r, log: new Log(), typing: new Map() }]
      return [r.room, Object.assign(old, r, { cursor: old.cursor, count: Math.max(old.count, r.count), read: Math.max(old.read, r.read) })]
    }))
    for (const room of this.rooms.values()) {
      if (!this.following || this.following.has(room.room)) continue
      this.following.add(room.room)
      this.stream.send('follow', { room: room.room, cursor: room.cursor })
    }
    $('community-title').textContent = about.title
    $('community-handle').textContent = about.handle
    $('new-room').hidden = !this.atLeast('member')
    $('new-invite').hidden = !this.atLeast('moderator')
    if (this.view.room) this.rooms.has(this.view.room.room) ? this.view.show(this.rooms.get(this.view.room.room)) : this.go(`#/c/${community}`)
    this.drawRooms()
  }

  atLeast(role) {
    return ranks.indexOf(this.community.role) >= ranks.indexOf(role)
  }

  drawRooms() {
    if (!this.community) return
    $('no-rooms').hidden = this.rooms.size > 0
    $('rooms').replaceChildren(
      ...[...this.rooms.values()].map((room) => {
        const unread = room.count - room.read
        const badge = unread > 0 && el('span', { className: 'badge', 'aria-label': `${unread} unread` }, unread > 99 ? '99+' : String(unread))
        return el('li', {}, el('a', {
          href: `#/c/${this.community.community}/${room.room}`,
          'aria-current': room === this.view.room ? 'page' : 'false',
          className: unread > 0 ? 'unread' : '',
        }, el('span', { className: 'kind', 'aria-hidden': 'true' }, room.private ? '⚿' : '#'), el('bdi', { className: 'name' }, room.name),
        room.private ? el('span', { className: 'hidden' }, ' (private)') : undefined, badge || undefined))
      }),
    )
  }

  roomOf(topic) {
    return this.rooms.get(topic.split('/').at(-1))
  }

  /** A message or redaction of the stream: of a room, or the notice of a change. */
  hear({ topic, cursor, ...entry }) {
    const room = this.roomOf(topic)
    if (!room) {
      if (topic.includes('notices/')) setTimeout(() => this.community && this.refresh().catch(() => {}), Math.random() * 300)
      return
    }
    room.cursor = cursor
    if (!room.log.add(entry)) return
    const { data } = entry
    if (data?.type === 'message') {
      room.typing.delete(data.author)
      room.count = Math.max(room.count, data.number)
      if (data.author === this.me.did) room.read = Math.max(room.read, data.number)
    }
    if (room === this.view.room) {
      this.view.draw()
      this.view.drawTyping()
    }
    this.drawRooms()
  }

  /** Who is there, and who is typing. */
  sense({ topic, key, gone }) {
    const [what, did] = key.split('/')
    if (what === 'here') gone ? this.present.delete(did) : this.present.add(did)
    const room = this.roomOf(topic)
    if (what !== 'typing' || !room || did === this.me.did) return
    gone ? room.typing.delete(did) : room.typing.set(did, true)
    if (room === this.view.room) this.view.drawTyping()
  }

  /** The handle of somebody: what is known, and later what was found out. */
  nameOf(did, then) {
    const known = this.names.get(did)
    if (typeof known === 'string') return known
    const asked = known ?? this.oauth.identify(did).then(({ handle }) => (handle === 'handle.invalid' ? did : handle), () => did)
    this.names.set(did, asked)
    asked.then((handle) => {
      this.names.set(did, handle)
      then?.(handle)
    })
    return '…'
  }

  avatar(did) {
    const node = avatar('', did)
    mark(node, this.nameOf(did, (handle) => mark(node, handle)))
    return node
  }

  name(did) {
    const node = el('bdi', { className: 'name' })
    node.textContent = this.nameOf(did, (handle) => (node.textContent = handle))
    return node
  }

  askCommunity() {
    ask('New community', [
      field('Title', 'title', { required: true, maxLength: 64 }),
      field('Name, for its handle', 'name', { required: true, pattern: '[a-z0-9]([a-z0-9\\-]*[a-z0-9])?', maxLength: 40, autocapitalize: 'none' }),
      field('What it is about', 'description', { maxLength: 300 }),
      el('p', { className: 'hint' }, 'Title, name and description are public.'),
    ], 'Found it', async (form) => {
      const { title, name, description } = Object.fromEntries(form)
      const { community } = await this.api.post('createCommunity', { title, name })
      await this.api.post('putRecord', { repo: community, collection: `${this.app.namespace}profile`, rkey: 'self', record: { title, description } })
      await this.listCommunities()
      location.hash = `#/c/${community}`
    })
  }

  async askRoom() {
    const { community } = this.community
    const members = (await this.members()).filter((m) => m.member !== this.me.did)
    const people = el('fieldset', { hidden: true }, el('legend', {}, 'Who is in it'), ...members.map(({ member }) => checkbox(this.name(member), 'add', member)))
    const kind = el('fieldset', {}, el('legend', { className: 'hidden' }, 'Kind'))
    const choose = (value, label, hint, properties) => {
      const input = el('input', { type: 'radio', name: 'kind', value, ...properties })
      input.addEventListener('change', () => (people.hidden = value !== 'private' || !members.length))
      kind.append(el('label', { className: 'check' }, input, el('span', {}, el('b', {}, label), el('br'), hint)))
      if (properties.checked) people.hidden = value !== 'private' || !members.length
    }
    const mayPublic = this.atLeast('moderator')
    choose('public', 'Public', 'What is said is in the community’s repository, for everybody on the network to read.', { checked: mayPublic, disabled: !mayPublic })
    choose('private', 'Private', 'For those who are in it, and stored on this server alone.', { checked: !mayPublic })
    ask('New room', [field('Name', 'name', { required: true, maxLength: 64 }), kind, people], 'Create', async (form) => {
      const name = form.get('name')
      const id = form.get('kind') === 'private'
        ? (await this.api.post('createRoom', { community, name, add: form.getAll('add') })).id
        : await this.record('room', { name })
      await this.refresh()
      location.hash = `#/c/${community}/${id}`
    })
  }

  /** Writes a record of the community and returns its key. */
  async record(collection, record) {
    const { uri } = await this.api.post('createRecord', {
      repo: this.community.community,
      collection: this.app.namespace + collection,
      record: { ...record, createdAt: new Date().toISOString() },
    })
    return uri.split('/').at(-1)
  }

  askInvite() {
    const { community } = this.community
    const roles = Object.fromEntries(ranks.slice(0, ranks.indexOf(this.community.role)).map((r) => [r, roleNames[r]]))
    ask('Invite', [
      field('They become', 'role', { tag: 'select', options: roles }),
      field('How many may use it', 'uses', { type: 'number', min: 1, max: 1000, value: 1, required: true }),
    ], 'Make a link', async (form) => {
      const { code } = await this.api.post('createInvite', { community, role: form.get('role'), uses: Number(form.get('uses')) })
      const link = `${location.origin}/#/join/${community}/${code}`
      const shown = field('The link, good for a week', 'link', { value: link, readOnly: true })
      shown.querySelector('input').addEventListener('focus', (event) => event.target.select())
      ask('Invite', [shown], 'Copy', async () => {
        await navigator.clipboard.writeText(link)
      })
      return false
    })
    $('field-role').value = 'member' in roles ? 'member' : 'guest'
  }

  /** All members, or all who are banned. */
  async members(banned) {
    const { community } = this.community
    const all = []
    let cursor
    do {
      const page = await this.api.get('listMembers', { community, banned, cursor })
      all.push(...page.members)
      cursor = page.cursor
    } while (cursor)
    return all
  }

  /** The members, with what the caller may do to them. */
  async showMembers() {
    const { community, role: mine, title } = this.community
    const moderates = this.atLeast('moderator')
    const [members, banned] = await Promise.all([this.members(), moderates ? this.members(true) : []])
    const row = ({ member }, about, ...actions) =>
      el('li', {}, this.avatar(member), el('span', { className: 'who' }, this.name(member), el('small', {}, about)),
        actions.length ? el('span', { className: 'do' }, ...actions) : undefined)
    const list = members.map((m) => {
      const about = roleNames[m.role] + (this.present.has(m.member) ? ' · here' : '')
      if (ranks.indexOf(m.role) >= ranks.indexOf(mine)) return row(m, about)
      const actions = mine === 'owner' ? [this.roleChoice(m)] : []
      if (moderates) actions.push(this.button('Ban', () => this.askBan(m.member)))
      return row(m, about, ...actions)
    })
    const out = [el('ul', { className: 'people' }, ...list)]
    if (banned.length) {
      out.push(el('h3', {}, 'Banned'), el('ul', { className: 'people' }, ...banned.map((b) =>
        row(b, b.reason || 'No reason given', this.button('Let back in', () => this.act('unbanMember', { community, member: b.member }))))))
    }
    if (mine === 'owner') {
      out.push(this.button('Delete the community', () => ask(`Delete ${title}?`, [
        el('p', {}, 'Its rooms, messages and pictures go for everybody, and do not come back.'),
      ], 'Delete', async () => {
        await this.api.post('deleteCommunity', { community })
        await this.go('#/')
        await this.listCommunities()
      }), 'danger'))
    } else {
      out.push(this.button('Leave the community', () => ask(`Leave ${title}?`, [
        el('p', {}, 'What you have said stays. To come back you need another invite.'),
      ], 'Leave', () => this.api.post('leaveCommunity', { community })), 'danger'))
    }
    ask('Members', out)
  }

  /** What the owner chooses the role of a member with. */
  roleChoice({ member, role }) {
    const { community, title } = this.community
    const select = el('select', { 'aria-label': 'Role' }, ...ranks.map((r) => el('option', { value: r, selected: r === role }, roleNames[r])))
    select.addEventListener('change', () => {
      const input = { community, member, role: select.value }
      if (input.role !== 'owner') return this.act('setRole', input)
      ask(`Hand ${title} over?`, [el('p', {}, this.name(member), ' becomes the owner, and you a moderator.')], 'Hand over', () => this.api.post('setRole', input))
    })
    return select
  }

  askBan(member) {
    const { community } = this.community
    ask('Ban?', [
      el('p', {}, this.name(member), ' leaves at once and cannot come back by an invite.'),
      field('Reason, for those who may ban', 'reason', { maxLength: 300 }),
    ], 'Ban', (form) => this.api.post('banMember', { community, member, reason: form.get('reason') || undefined }))
  }

  /** Who is in a private room; who may, adds others. */
  async showPeople() {
    const { room } = this.view
    const { community } = this.community
    if (!room.private) return this.showMembers()
    const members = await this.members()
    const inside = (did) => room.members.includes(did)
    ask(`People in ${room.name}`, [
      el('fieldset', {}, el('legend', { className: 'hidden' }, 'Members'), ...members.map(({ member }) => checkbox(this.name(member), 'in', member, inside(member)))),
    ], 'Save', async (form) => {
      const chosen = form.getAll('in')
      const add = chosen.filter((did) => !inside(did))
      const remove = room.members.filter((did) => !chosen.includes(did))
      await this.api.post('changeRoom', { community, room: room.room, add, remove })
    })
  }

  /** A button of the dialog that does something at once. */
  button(label, action, className = '') {
    return el('button', { type: 'button', onclick: action, className }, label)
  }

  async act(method, input) {
    try {
      await this.api.post(method, input)
      $('dialog').close()
    } catch (err) {
      $('dialog-problem').textContent = err.message
    }
  }
}

new Client().start()
