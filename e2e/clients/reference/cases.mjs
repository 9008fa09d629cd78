// Calls to compare, in order: what one of them changes, the next ones see. An
// input that needs something of the server is a function of it.

const post = (text = 'x') => ({ $type: 'app.bsky.feed.post', text, createdAt: '2026-01-01T00:00:00.000Z' })
const nowhere = 'did:plc:aaaaaaaaaaaaaaaaaaaaaaaa'
const noCID = 'bafyreie5cvv4h45feadgeuwhbcutmh6t2ceseocckahdoe6uat64zmz454'
const noBlob = 'bafkreie5cvv4h45feadgeuwhbcutmh6t2ceseocckahdoe6uat64zmz454'

export const cases = []

/**
 * A case is a call and, where the servers differ, what they answer and why it
 * is right that they do. Fields named in "lacks" are those that ours leaves out.
 */
const get = (nsid, who, input, differs) => cases.push({ verb: 'GET', nsid, who, input, differs })
const call = (nsid, who, input, differs) => cases.push({ verb: 'POST', nsid, who, input, differs })

const named = { ours: '400 HandleNotAvailable', reference: '400 InvalidRequest', why: 'the lexicon has a name for it' }
const crash = { ours: '400 InvalidRequest', reference: '500 InternalServerError', why: 'it is the mistake of the caller' }
const missing = { ours: '401 AuthMissing', reference: '401 AuthenticationRequired', why: 'it is the name everywhere else' }
const ended = { ours: '400 ExpiredToken', why: 'sessions that began before do not outlive it' }

// server
get('com.atproto.server.describeServer', 'none')
for (const who of ['alice', 'app', 'none', 'refresh', 'garbage', 'admin']) get('com.atproto.server.getSession', who)
for (const input of [
  { identifier: 'alice.test', password: 'the password of alice' },
  { identifier: 'ALICE.test', password: 'the password of alice' },
  { identifier: 'alice@example.com', password: 'the password of alice' },
  { identifier: '@alice.test', password: 'the password of alice' },
  { identifier: 'alice.test', password: 'wrong' },
  { identifier: 'nobody.test', password: 'x' },
  {},
  { identifier: 'alice.test' },
  undefined,
  { identifier: 'alice.test', password: 'x'.repeat(5000) },
  { identifier: 'x'.repeat(500), password: 'x' },
])
  call('com.atproto.server.createSession', 'none', input)
for (const who of ['alice', 'none', 'garbage', 'app']) call('com.atproto.server.refreshSession', who)
for (const who of ['alice', 'none', 'garbage']) call('com.atproto.server.deleteSession', who)
for (const input of [
  { handle: 'fresh.test', password: 'x' },
  { handle: 'fresh.test', email: 'nonsense', password: 'x' },
  { handle: 'fresh.test', email: 'alice@example.com', password: 'x' },
  { handle: 'fresh.elsewhere.com', email: 'n@example.com', password: 'x' },
  { handle: 'a.test', email: 'n@example.com', password: 'x' },
  { handle: 'admin.test', email: 'n@example.com', password: 'x' },
  { handle: 'a.b.test', email: 'n@example.com', password: 'x' },
  { handle: 'not a handle', email: 'n@example.com', password: 'x' },
  { handle: 'averyveryverylonghandle.test', email: 'n@example.com', password: 'x' },
  { handle: 'und_er.test', email: 'n@example.com', password: 'x' },
  { handle: 'fresh.test', email: 'n@example.com', password: 'x', did: nowhere },
  { handle: 'fresh.test', email: 'n@mailinator.com', password: 'x' },
  { handle: 'fresh.test', email: 'n@example.com', password: 'x'.repeat(257) },
  { handle: 'fresh.test', email: 'n@example.com', password: 'x', plcOp: {} },
  { handle: 'fresh.invalid', email: 'n@example.com', password: 'x' },
])
  call('com.atproto.server.createAccount', 'none', input)
call('com.atproto.server.createAccount', 'none', { handle: 'alice.test', email: 'n@example.com', password: 'x' }, named)
call(
  'com.atproto.server.createAccount',
  'none',
  { handle: 'wordless.test', email: 'wordless@example.com' },
  {
    ours: '400 InvalidRequest',
    reference: '200',
    why: 'nobody could sign in',
  },
)
call('com.atproto.server.createAccount', 'none', {
  handle: 'carol.test',
  email: 'carol@example.com',
  password: 'carols password',
})
for (const who of ['alice', 'app', 'none', 'bob', 'refresh']) {
  get('com.atproto.server.checkAccountStatus', who)
  get('com.atproto.server.listAppPasswords', who)
  get('com.atproto.server.getAccountInviteCodes', who)
  get('com.atproto.server.getServiceAuth', who, { aud: 'did:web:example.com', lxm: 'com.example.x' })
}
for (const input of [
  {},
  { aud: 'nonsense' },
  { aud: 'did:web:example.com' },
  { aud: 'did:web:example.com', exp: '100' },
  { aud: 'did:web:example.com', exp: String(Math.floor(Date.now() / 1000) + 7200) },
  { aud: 'did:web:example.com', exp: String(Math.floor(Date.now() / 1000) + 1800) },
  { aud: 'did:web:example.com', lxm: 'com.example.x', exp: String(Math.floor(Date.now() / 1000) + 1800) },
  { aud: 'did:web:example.com', lxm: 'com.atproto.server.deleteAccount' },
  { aud: 'did:web:example.com', lxm: 'com.atproto.server.createAccount' },
  { aud: 'did:web:example.com#x', lxm: 'com.example.x' },
  { aud: 'did:web:example.com', lxm: 'not a method' },
])
  get('com.atproto.server.getServiceAuth', 'alice', input)
get('com.atproto.server.getServiceAuth', 'app', { aud: 'did:web:example.com', lxm: 'chat.bsky.convo.listConvos' })
get('com.atproto.server.getServiceAuth', 'app', { aud: 'did:web:example.com', lxm: 'com.atproto.server.createAccount' })
for (const who of ['alice', 'app', 'none']) call('com.atproto.server.createAppPassword', who, { name: 'two' })
call('com.atproto.server.createAppPassword', 'alice', { name: 'two' }, crash)
call('com.atproto.server.createAppPassword', 'alice', {})
call('com.atproto.server.createAppPassword', 'alice', { name: 'priv', privileged: true })
call('com.atproto.server.revokeAppPassword', 'alice', { name: 'unknown' })
call('com.atproto.server.revokeAppPassword', 'alice', { name: 'two' })
call('com.atproto.server.revokeAppPassword', 'app', { name: 'priv' })
for (const who of ['alice', 'app', 'none']) {
  call('com.atproto.server.requestEmailConfirmation', who)
  call('com.atproto.server.requestEmailUpdate', who)
  call('com.atproto.server.requestAccountDelete', who)
  call('com.atproto.identity.requestPlcOperationSignature', who)
}
call('com.atproto.server.confirmEmail', 'alice', { email: 'alice@example.com', token: 'AAAAA-AAAAA' })
call('com.atproto.server.confirmEmail', 'alice', { email: 'other@example.com', token: 'AAAAA-AAAAA' })
call('com.atproto.server.confirmEmail', 'none', { email: 'alice@example.com', token: 'AAAAA-AAAAA' })
call('com.atproto.server.updateEmail', 'alice', { email: 'nonsense' })
call('com.atproto.server.updateEmail', 'alice', { email: 'bob@example.com' })
call('com.atproto.server.updateEmail', 'alice', { email: 'alice2@example.com', token: 'wrong' })
call('com.atproto.server.updateEmail', 'bob', { email: 'bob2@example.com' })
call('com.atproto.server.updateEmail', 'app', { email: 'bob2@example.com' })
call('com.atproto.server.requestPasswordReset', 'none', { email: 'alice@example.com' })
call(
  'com.atproto.server.requestPasswordReset',
  'none',
  { email: 'nobody@example.com' },
  {
    ours: '200',
    reference: '400 InvalidRequest',
    why: "whether an address is in use is nobody's business",
  },
)
call('com.atproto.server.requestPasswordReset', 'none', {})
call('com.atproto.server.resetPassword', 'none', { token: 'AAAAA-AAAAA', password: 'x' })
call('com.atproto.server.resetPassword', 'none', { token: '', password: 'x' })
call('com.atproto.server.deleteAccount', 'none', (s) => ({ did: s.did, password: 'the password of alice', token: 'AAAAA-AAAAA' }))
call('com.atproto.server.deleteAccount', 'none', (s) => ({ did: s.did, password: 'wrong', token: 'AAAAA-AAAAA' }))
call('com.atproto.server.deleteAccount', 'none', { did: nowhere, password: 'x', token: 'x' })
call('com.atproto.server.reserveSigningKey', 'none', {})
call('com.atproto.server.reserveSigningKey', 'none', (s) => ({ did: s.did }))
for (const who of ['alice', 'none', 'admin', 'bob']) {
  const differs = who === 'none' ? missing : undefined
  call('com.atproto.server.createInviteCode', who, { useCount: 1 }, differs)
  call('com.atproto.server.createInviteCodes', who, { useCount: 1, codeCount: 2 }, differs)
}
call('com.atproto.server.activateAccount', 'alice')
call('com.atproto.server.activateAccount', 'none')
call('com.atproto.server.deactivateAccount', 'none', {})
call('com.atproto.server.deactivateAccount', 'app', {})
call(
  'com.atproto.server.unheardOf',
  'alice',
  {},
  {
    ours: '501 MethodNotImplemented',
    reference: '502 UpstreamFailure',
    why: 'no other service has methods of a PDS',
  },
)
get('com.atproto.server.createSession', 'none')
call('com.atproto.server.getSession', 'alice')

// identity
for (const handle of ['alice.test', 'ALICE.test', 'nobody.test', 'not a handle', 'a.b.test', ''])
  get('com.atproto.identity.resolveHandle', 'none', { handle })
get('com.atproto.identity.resolveHandle', 'none')
for (const who of ['alice', 'app', 'none']) get('com.atproto.identity.getRecommendedDidCredentials', who)
for (const handle of ['alice.test', 'bob.test', 'not a handle', 'x.elsewhere.com', 'admin.test', 'alice2.test', 'alice.test'])
  call('com.atproto.identity.updateHandle', 'alice', { handle })
call('com.atproto.identity.updateHandle', 'app', { handle: 'x.test' })
call('com.atproto.identity.updateHandle', 'none', { handle: 'x.test' })
call('com.atproto.identity.signPlcOperation', 'alice', {})
call('com.atproto.identity.signPlcOperation', 'alice', { token: 'AAAAA-AAAAA' })
call('com.atproto.identity.signPlcOperation', 'app', { token: 'AAAAA-AAAAA' })
call('com.atproto.identity.submitPlcOperation', 'alice', { operation: {} })
call('com.atproto.identity.submitPlcOperation', 'alice', {})
call('com.atproto.identity.submitPlcOperation', 'none', { operation: {} })

// repo
for (const repo of ['alice.test', 'nobody.test', nowhere, 'nonsense']) {
  get('com.atproto.repo.describeRepo', 'none', { repo })
  get('com.atproto.repo.listRecords', 'none', { repo, collection: 'app.bsky.feed.post' })
}
for (const repo of ['alice.test', 'nonsense'])
  get('com.atproto.repo.getRecord', 'none', { repo, collection: 'app.bsky.feed.post', rkey: 'nothing' })
get('com.atproto.repo.getRecord', 'none', (s) => ({ repo: s.did, collection: 'app.bsky.feed.post', rkey: s.rkey }))
get('com.atproto.repo.getRecord', 'none', (s) => ({ repo: s.did, collection: 'app.bsky.feed.post', rkey: s.rkey, cid: s.cid }))
get('com.atproto.repo.getRecord', 'none', (s) => ({ repo: s.did, collection: 'app.bsky.feed.post', rkey: s.rkey, cid: noCID }))
get('com.atproto.repo.getRecord', 'none', (s) => ({
  repo: s.did,
  collection: 'app.bsky.feed.post',
  rkey: s.rkey,
  cid: 'non sense',
}))
get('com.atproto.repo.getRecord', 'none', (s) => ({ repo: s.did, collection: 'non sense', rkey: s.rkey }))
for (const more of [
  { limit: 1 },
  { limit: 0 },
  { limit: 101 },
  { limit: 'x' },
  { reverse: true },
  { cursor: 'zzz' },
  { rkeyStart: 'a' },
]) {
  get('com.atproto.repo.listRecords', 'none', (s) => ({ repo: s.did, collection: 'app.bsky.feed.post', ...more }))
}
get('com.atproto.repo.listRecords', 'none', (s) => ({ repo: s.did }))
for (const who of ['alice', 'app', 'bob', 'none', 'refresh', 'admin']) {
  call('com.atproto.repo.createRecord', who, (s) => ({ repo: s.did, collection: 'app.bsky.feed.post', record: post() }))
  call('com.atproto.repo.putRecord', who, (s) => ({
    repo: s.did,
    collection: 'com.example.thing',
    rkey: 'self',
    record: { a: 1 },
  }))
  call('com.atproto.repo.deleteRecord', who, (s) => ({ repo: s.did, collection: 'com.example.thing', rkey: 'self' }))
  call('com.atproto.repo.applyWrites', who, (s) => ({
    repo: s.did,
    writes: [{ $type: 'com.atproto.repo.applyWrites#create', collection: 'app.bsky.feed.post', value: post() }],
  }))
}
for (const input of [
  { collection: 'app.bsky.feed.post', record: { text: 'no date' } },
  { collection: 'app.bsky.feed.post', record: post(), validate: false },
  { collection: 'com.example.thing', record: { a: 1 }, validate: true },
  { collection: 'com.example.thing', record: { a: 1.5 } },
  { collection: 'com.example.thing', record: 'text' },
  { collection: 'com.example.thing', record: { $type: 'com.example.other' } },
  { collection: 'not a collection', record: {} },
  { collection: 'app.bsky.feed.post', rkey: 'bad key', record: post() },
  { collection: 'app.bsky.feed.post', rkey: 'self', record: post() },
  { collection: 'app.bsky.actor.profile', rkey: 'other', record: { $type: 'app.bsky.actor.profile' } },
  { collection: 'com.example.thing', rkey: 'dup', record: { a: 1 } },
  { collection: 'com.example.thing', record: { a: 1 }, swapCommit: noCID },
  { collection: 'com.example.thing', record: { a: 1 }, swapCommit: 'nonsense' },
  { collection: 'com.example.thing', record: { f: { $type: 'blob', ref: { $link: noBlob }, mimeType: 'text/plain', size: 3 } } },
  { collection: 'com.example.thing', record: { f: { cid: noBlob, mimeType: 'text/plain' } } },
  { collection: 'com.example.thing' },
  { record: {} },
  { collection: 'com.example.thing', rkey: 'dot', record: { a: 'x'.repeat(1100000) } },
  { collection: 'app.bsky.feed.post', record: { ...post(), createdAt: 'yesterday' } },
  { collection: 'com.example.thing', rkey: '.', record: {} },
  { collection: 'com.example.thing', rkey: 'x'.repeat(513), record: {} },
])
  call('com.atproto.repo.createRecord', 'alice', (s) => ({ repo: s.did, ...input }))
call(
  'com.atproto.repo.createRecord',
  'alice',
  (s) => ({ repo: s.did, collection: 'com.example.thing', rkey: 'dup', record: { a: 2 } }),
  crash,
)
call(
  'com.atproto.repo.createRecord',
  'alice',
  (s) => ({ repo: s.did, collection: 'com.example.thing', record: { l: { $link: 'nonsense' } } }),
  {
    ours: '400 InvalidRequest',
    reference: '200',
    why: 'others could not read it',
  },
)
for (const repo of ['alice.test', 'bob.test', 'nobody.test', 'nonsense'])
  call('com.atproto.repo.createRecord', 'alice', { repo, collection: 'com.example.thing', record: {} })
for (const input of [
  { collection: 'com.example.thing', rkey: 'swap', record: { a: 1 }, swapRecord: null },
  { collection: 'com.example.thing', rkey: 'swap', record: { a: 2 }, swapRecord: null },
  { collection: 'com.example.thing', rkey: 'swap', record: { a: 2 }, swapRecord: noCID },
  { collection: 'com.example.thing', rkey: 'swap', record: { a: 1 } },
  { collection: 'com.example.thing', record: { a: 1 } },
  { collection: 'com.example.thing', rkey: 'swap', record: { a: 3 }, swapRecord: 'nonsense' },
])
  call('com.atproto.repo.putRecord', 'alice', (s) => ({ repo: s.did, ...input }))
for (const input of [
  { collection: 'com.example.thing', rkey: 'nothing' },
  { collection: 'com.example.thing', rkey: 'nothing', swapRecord: noCID },
  { collection: 'com.example.thing', rkey: 'swap', swapRecord: noCID },
  { collection: 'com.example.thing', rkey: 'swap' },
  { rkey: 'x' },
])
  call('com.atproto.repo.deleteRecord', 'alice', (s) => ({ repo: s.did, ...input }))
const write = (action, rkey, value) => ({
  $type: `com.atproto.repo.applyWrites#${action}`,
  collection: 'com.example.thing',
  rkey,
  ...(value && { value }),
})
const silent = { lacks: ['commit'], why: 'what changes nothing makes no commit' }
for (const [writes, differs] of [
  [[], silent],
  [[write('create', 'w', {}), write('update', 'w', { a: 1 }), write('delete', 'w')], silent],
  [[write('update', 'missing', {})], crash],
  [[write('delete', 'missing')], crash],
  [[{ $type: 'com.example.other' }]],
  [[{ collection: 'com.example.thing', value: {} }]],
  [Array.from({ length: 201 }, () => write('create', undefined, {}))],
  [[write('create', 'v', {}), write('create', 'u', {})]],
])
  call('com.atproto.repo.applyWrites', 'alice', (s) => ({ repo: s.did, writes }), differs)
call('com.atproto.repo.applyWrites', 'alice', (s) => ({ repo: s.did }))
get('com.atproto.repo.listMissingBlobs', 'alice')
get('com.atproto.repo.listMissingBlobs', 'none')
call('com.atproto.repo.uploadBlob', 'alice', { some: 'json' })
call('com.atproto.repo.uploadBlob', 'none', { some: 'json' })
call('com.atproto.repo.uploadBlob', 'alice')
call('com.atproto.repo.importRepo', 'alice', {})
call('com.atproto.repo.importRepo', 'none', {})
call('com.atproto.repo.importRepo', 'app', {})

// sync
for (const nsid of ['getRepo', 'getLatestCommit', 'getRepoStatus', 'listBlobs', 'getHead', 'getCheckout']) {
  get(`com.atproto.sync.${nsid}`, 'none', (s) => ({ did: s.did }))
  get(`com.atproto.sync.${nsid}`, 'none', { did: nowhere })
  get(`com.atproto.sync.${nsid}`, 'none', { did: 'nonsense' })
  get(`com.atproto.sync.${nsid}`, 'none')
}
get('com.atproto.sync.getRepo', 'none', (s) => ({ did: s.did, since: '2222222222222' }))
get('com.atproto.sync.getRepo', 'none', (s) => ({ did: s.did, since: 'nonsense' }))
get('com.atproto.sync.getBlob', 'none', (s) => ({ did: s.did, cid: s.blob }))
const noBlobNamed = { ours: '400 BlobNotFound', reference: '400 InvalidRequest', why: 'the lexicon has a name for it' }
get('com.atproto.sync.getBlob', 'none', (s) => ({ did: s.did, cid: noBlob }), noBlobNamed)
get('com.atproto.sync.getBlob', 'none', (s) => ({ did: s.did, cid: 'nonsense' }))
get('com.atproto.sync.getBlob', 'none', (s) => ({ did: nowhere, cid: s.blob }))
get('com.atproto.sync.getBlocks', 'none', (s) => ({ did: s.did, cids: s.cid }))
get('com.atproto.sync.getBlocks', 'none', (s) => ({ did: s.did, cids: noCID }), {
  ours: '400 BlockNotFound',
  reference: '400 InvalidRequest',
  why: 'the lexicon has a name for it',
})
get('com.atproto.sync.getBlocks', 'none', (s) => ({ did: s.did }))
get('com.atproto.sync.getRecord', 'none', (s) => ({ did: s.did, collection: 'app.bsky.feed.post', rkey: s.rkey }))
get('com.atproto.sync.getRecord', 'none', (s) => ({ did: s.did, collection: 'app.bsky.feed.post', rkey: 'missing' }))
get('com.atproto.sync.getRecord', 'none', (s) => ({ did: nowhere, collection: 'app.bsky.feed.post', rkey: s.rkey }))
for (const input of [{}, { limit: 1 }, { limit: 0 }, { limit: 1001 }, { cursor: 'nonsense' }])
  get('com.atproto.sync.listRepos', 'none', input)
get('com.atproto.sync.listBlobs', 'none', (s) => ({ did: s.did, since: '2222222222222', limit: 1 }))

// admin
const noInvites = { lacks: ['invites', 'invitesDisabled'], why: 'there are none on a server that asks for none' }
const session = { ours: '401 BadJwtType', reference: '401 UntrustedIss', why: 'that comes first' }
for (const who of ['admin', 'alice', 'none']) {
  const differs = who === 'none' ? missing : undefined
  // Those that a moderation service may call.
  const moderation = who === 'alice' ? session : differs
  const info = who === 'admin' ? noInvites : moderation
  get('com.atproto.admin.getAccountInfo', who, (s) => ({ did: s.did }), info)
  get('com.atproto.admin.getAccountInfos', who, (s) => ({ dids: s.did }), info)
  get('com.atproto.admin.getInviteCodes', who, {}, moderation)
  get('com.atproto.admin.getSubjectStatus', who, (s) => ({ did: s.did }), moderation)
  call('com.atproto.admin.updateAccountHandle', who, (s) => ({ did: s.did, handle: 'alice3.test' }), differs)
  call('com.atproto.admin.updateAccountEmail', who, (s) => ({ account: s.did, email: 'alice3@example.com' }), differs)
  call('com.atproto.admin.disableAccountInvites', who, (s) => ({ account: s.did }), moderation)
  call('com.atproto.admin.enableAccountInvites', who, (s) => ({ account: s.did }), moderation)
  call('com.atproto.admin.disableInviteCodes', who, { codes: ['x'], accounts: [] }, moderation)
  call(
    'com.atproto.admin.sendEmail',
    who,
    (s) => ({ recipientDid: s.did, content: 'hello', subject: 'x', senderDid: s.did }),
    moderation,
  )
  call(
    'com.atproto.admin.updateSubjectStatus',
    who,
    (s) => ({ subject: { $type: 'com.atproto.admin.defs#repoRef', did: s.did }, takedown: { applied: false } }),
    moderation,
  )
}
const nobody = { ours: '400 InvalidRequest', reference: '200', why: 'it did nothing' }
get('com.atproto.admin.getAccountInfo', 'admin', { did: nowhere })
get('com.atproto.admin.getSubjectStatus', 'admin', {})
get('com.atproto.admin.getSubjectStatus', 'admin', { did: nowhere })
get('com.atproto.admin.getSubjectStatus', 'admin', (s) => ({ uri: s.uri }))
get('com.atproto.admin.getSubjectStatus', 'admin', (s) => ({ did: s.did, blob: s.blob }))
call('com.atproto.admin.updateAccountHandle', 'admin', { did: nowhere, handle: 'xavier.test' })
call('com.atproto.admin.updateAccountHandle', 'admin', (s) => ({ did: s.did, handle: 'bob.test' }))
call('com.atproto.admin.updateAccountEmail', 'admin', { account: nowhere, email: 'x@example.com' })
call('com.atproto.admin.updateAccountPassword', 'admin', { did: nowhere, password: 'new' }, nobody)
call('com.atproto.admin.deleteAccount', 'admin', { did: nowhere }, nobody)
call('com.atproto.admin.updateSubjectStatus', 'admin', (s) => ({
  subject: { $type: 'com.atproto.repo.strongRef', uri: s.uri, cid: s.cid },
  takedown: { applied: true, ref: 'r' },
}))
get('com.atproto.repo.getRecord', 'none', (s) => ({ repo: s.did, collection: 'app.bsky.feed.post', rkey: s.rkey }))
get('com.atproto.admin.getSubjectStatus', 'admin', (s) => ({ uri: s.uri }))
call('com.atproto.admin.updateSubjectStatus', 'admin', (s) => ({
  subject: { $type: 'com.atproto.admin.defs#repoBlobRef', did: s.did, cid: s.blob },
  takedown: { applied: true },
}))
get('com.atproto.sync.getBlob', 'none', (s) => ({ did: s.did, cid: s.blob }), noBlobNamed)
get('com.atproto.admin.getSubjectStatus', 'admin', (s) => ({ did: s.did, blob: s.blob }))
call('com.atproto.admin.updateSubjectStatus', 'admin', (s) => ({
  subject: { $type: 'com.atproto.admin.defs#repoRef', did: s.did },
  takedown: { applied: true, ref: 'x' },
}))
const down = { ours: '401 AccountTakedown', why: 'it ends sessions; a new one may export' }
for (const nsid of [
  'com.atproto.sync.getRepo',
  'com.atproto.sync.getRepoStatus',
  'com.atproto.sync.getLatestCommit',
  'com.atproto.sync.listBlobs',
  'com.atproto.sync.getHead',
]) {
  get(nsid, 'none', (s) => ({ did: s.did }))
  get(nsid, 'admin', (s) => ({ did: s.did }))
  if (!nsid.endsWith('Status')) get(nsid, 'alice', (s) => ({ did: s.did }), { ...down, reference: '200' })
}
get('com.atproto.repo.describeRepo', 'none', (s) => ({ repo: s.did }))
get('com.atproto.repo.listRecords', 'none', (s) => ({ repo: s.did, collection: 'app.bsky.feed.post' }))
get('com.atproto.identity.resolveHandle', 'none', { handle: 'alice3.test' })
call('com.atproto.repo.createRecord', 'alice', (s) => ({ repo: s.did, collection: 'com.example.thing', record: {} }))
get('com.atproto.server.getSession', 'alice', undefined, { ...down, reference: '400 InvalidRequest' })
call('com.atproto.server.createSession', 'none', (s) => ({ identifier: s.did, password: 'the password of alice' }))
call('com.atproto.server.createSession', 'none', (s) => ({
  identifier: s.did,
  password: 'the password of alice',
  allowTakendown: true,
}))
call('com.atproto.server.refreshSession', 'refresh')
call('com.atproto.admin.updateSubjectStatus', 'admin', (s) => ({
  subject: { $type: 'com.atproto.admin.defs#repoRef', did: s.did },
  takedown: { applied: false },
}))
get('com.atproto.server.getSession', 'alice', undefined, { ...ended, reference: '200' })
call('com.atproto.server.createSession', 'none', (s) => ({ identifier: s.did, password: 'the password of alice' }))

// deactivated
call('com.atproto.server.deactivateAccount', 'bob', {})
get('com.atproto.server.getSession', 'bob')
get('com.atproto.server.checkAccountStatus', 'bob')
call('com.atproto.repo.createRecord', 'bob', (s) => ({ repo: s.bob.assertDid, collection: 'com.example.thing', record: {} }))
for (const nsid of [
  'com.atproto.sync.getRepo',
  'com.atproto.sync.getRepoStatus',
  'com.atproto.sync.getLatestCommit',
  'com.atproto.sync.listBlobs',
])
  get(nsid, 'none', (s) => ({ did: s.bob.assertDid }))
get('com.atproto.repo.describeRepo', 'none', (s) => ({ repo: s.bob.assertDid }))
get('com.atproto.identity.resolveHandle', 'none', { handle: 'bob.test' })
get('app.bsky.actor.getPreferences', 'bob')
call('com.atproto.server.activateAccount', 'bob')
get('app.bsky.actor.getPreferences', 'none')
call('app.bsky.actor.putPreferences', 'bob', { preferences: [{ $type: 'app.bsky.actor.defs#adultContentPref', enabled: true }] })
call('app.bsky.actor.putPreferences', 'bob', { preferences: [{ $type: 'com.example.pref' }] })
call('app.bsky.actor.putPreferences', 'bob', { preferences: [{ enabled: true }] })
get('app.bsky.actor.getPreferences', 'bob')
get('com.atproto.temp.checkSignupQueue', 'none')
get('com.example.unknown', 'none')
get('com.example.unknown', 'bob')
call('com.atproto.admin.updateAccountPassword', 'bob', (s) => ({ did: s.bob.assertDid, password: 'new' }))
call('com.atproto.admin.updateAccountPassword', 'admin', (s) => ({ did: s.bob.assertDid, password: 'new' }))
get('com.atproto.server.getSession', 'bob', undefined, { ...ended, reference: '200' })
