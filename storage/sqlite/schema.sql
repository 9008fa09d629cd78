-- Times: *_at columns of events, blobs, docs and generations and created_at of
-- accounts are milliseconds since 1970; other times are RFC 3339 text.

CREATE TABLE meta (
	one           INTEGER PRIMARY KEY CHECK (one = 1),
	last_version  INTEGER NOT NULL, -- the last account version that was given
	last_seq      INTEGER NOT NULL  -- kept when events are pruned; see also max(events.seq)
);
INSERT INTO meta VALUES (1, 0, 0);

CREATE TABLE accounts (
	id                 INTEGER PRIMARY KEY AUTOINCREMENT,
	did                TEXT NOT NULL UNIQUE,
	handle             TEXT UNIQUE,
	email              TEXT UNIQUE,
	created_at         INTEGER NOT NULL,
	version            INTEGER NOT NULL,
	key_id             TEXT NOT NULL,
	generation         INTEGER NOT NULL DEFAULT 0, -- the published one, 0: no repository
	pending            INTEGER NOT NULL,
	deactivated        TEXT,
	delete_after       TEXT,
	takedown_ref       TEXT NOT NULL,
	tokens_after       TEXT,
	email_confirmed    TEXT,
	password_hash      TEXT NOT NULL,
	invites_disabled   INTEGER NOT NULL,
	blobs              INTEGER NOT NULL DEFAULT 0,
	blob_bytes         INTEGER NOT NULL DEFAULT 0,
	other_refs         INTEGER NOT NULL DEFAULT 0  -- distinct CIDs in refs with scope = -id
);
CREATE INDEX accounts_created ON accounts (created_at, did);

-- Deleted accounts whose rows are still to be collected.
CREATE TABLE doomed (account INTEGER PRIMARY KEY);

-- A generation is a set of repository rows; its head is set once published.
CREATE TABLE generations (
	id          INTEGER PRIMARY KEY AUTOINCREMENT,
	account     INTEGER NOT NULL,
	state       INTEGER NOT NULL, -- 0 staged, 1 published, 2 dropped
	created_at  INTEGER NOT NULL,
	next        INTEGER NOT NULL DEFAULT 1, -- next serial for nodes and records
	records     INTEGER NOT NULL DEFAULT 0,
	nodes       INTEGER NOT NULL DEFAULT 0,
	bytes       INTEGER NOT NULL DEFAULT 0, -- of nodes and values
	dups        INTEGER NOT NULL DEFAULT 0, -- rows of nodes and records less their distinct CIDs
	refs        INTEGER NOT NULL DEFAULT 0, -- distinct CIDs in refs that the account's other refs lack
	max_rev     TEXT NOT NULL DEFAULT '',
	ordered     INTEGER NOT NULL DEFAULT 1, -- 1: records ascend in rev as they ascend in id
	base_rev    TEXT NOT NULL DEFAULT '',   -- rev of staged nodes, set when published
	rev         TEXT NOT NULL DEFAULT '',
	head        BLOB,
	data        BLOB,
	signed      BLOB,
	recent      BLOB -- nodes without rows, see recent.go
);
CREATE INDEX generations_account ON generations (account);
CREATE INDEX generations_unpublished ON generations (state, created_at) WHERE state <> 1;

-- The id of nodes and records is generation << 32 | serial, so that a
-- repository's rows lie together in the order in which commits brought them.
-- cid_key is generation << 32 | the last 4 bytes of the CID.
CREATE TABLE nodes (
	id       INTEGER PRIMARY KEY,
	cid_key  INTEGER NOT NULL,
	rev      TEXT NOT NULL, -- empty: base_rev of the generation
	cid      BLOB NOT NULL,
	data     BLOB NOT NULL
);
CREATE INDEX nodes_cid ON nodes (cid_key);

CREATE TABLE records (
	id            INTEGER PRIMARY KEY,
	generation    INTEGER NOT NULL,
	collection    TEXT NOT NULL,
	rkey          TEXT NOT NULL,
	rev           TEXT NOT NULL,
	cid_key       INTEGER NOT NULL,
	cid           BLOB NOT NULL,
	author        TEXT, -- NULL: the owner of the repository
	backlink      TEXT,
	takedown_ref  TEXT,
	blobs         INTEGER NOT NULL, -- rows in refs
	value         BLOB NOT NULL
);
CREATE UNIQUE INDEX records_path ON records (generation, collection, rkey);
CREATE INDEX records_rev ON records (generation, rev, collection, rkey);
CREATE INDEX records_cid ON records (cid_key);
CREATE INDEX records_backlink ON records (generation, backlink, collection, rev, rkey) WHERE backlink IS NOT NULL;

-- References to blobs. scope is a generation, and uri a record's path in it;
-- or scope is minus an account, and uri opaque.
CREATE TABLE refs (
	scope  INTEGER NOT NULL,
	cid    TEXT NOT NULL,
	uri    TEXT NOT NULL,
	rev    TEXT NOT NULL,
	PRIMARY KEY (scope, cid, uri)
) WITHOUT ROWID;
CREATE INDEX refs_uri ON refs (scope, uri);

-- What refs refer to and the account has no blob of.
CREATE TABLE missing (
	scope  INTEGER NOT NULL,
	cid    TEXT NOT NULL,
	PRIMARY KEY (scope, cid)
) WITHOUT ROWID;

CREATE TABLE blobs (
	id            INTEGER PRIMARY KEY,
	account       INTEGER NOT NULL,
	cid           TEXT NOT NULL,
	key           TEXT NOT NULL,
	mime_type     TEXT NOT NULL,
	size          INTEGER NOT NULL,
	created_at    INTEGER NOT NULL,
	uploader      TEXT NOT NULL,
	temporary     INTEGER NOT NULL,
	public        INTEGER NOT NULL,
	takedown_ref  TEXT NOT NULL
);
CREATE UNIQUE INDEX blobs_cid ON blobs (account, cid);
CREATE INDEX blobs_key ON blobs (key);
CREATE INDEX blobs_temporary ON blobs (created_at) WHERE temporary = 1;

-- Keys whose bytes are to be deleted.
CREATE TABLE released (
	id   INTEGER PRIMARY KEY,
	key  TEXT NOT NULL UNIQUE
);

CREATE TABLE events (
	seq     INTEGER PRIMARY KEY,
	at      INTEGER NOT NULL,
	did     TEXT NOT NULL,
	kind    TEXT NOT NULL,
	actor   TEXT NOT NULL,
	client  TEXT NOT NULL,
	body    BLOB NOT NULL
);

-- Events of did up to this number are invisible.
CREATE TABLE hidden (
	did   TEXT PRIMARY KEY,
	upto  INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX hidden_upto ON hidden (upto);

CREATE TABLE docs (
	version     INTEGER PRIMARY KEY AUTOINCREMENT,
	kind        TEXT NOT NULL,
	key         TEXT NOT NULL,
	owner       INTEGER NOT NULL, -- an account, or 0
	expires_at  INTEGER NOT NULL, -- 0: never
	value       BLOB NOT NULL
);
CREATE UNIQUE INDEX docs_key ON docs (kind, key);
CREATE INDEX docs_owner ON docs (owner, kind, key) WHERE owner <> 0;
CREATE INDEX docs_expires ON docs (expires_at) WHERE expires_at <> 0;

-- For reading with the sqlite3 shell.
CREATE VIEW repositories AS
	SELECT a.did, g.rev, g.records, g.nodes, g.bytes, hex(g.head) AS head_hex
	FROM accounts a JOIN generations g ON g.id = a.generation;
CREATE VIEW repository_records AS
	SELECT a.did, r.collection, r.rkey, r.rev, coalesce(r.author, a.did) AS author,
		r.takedown_ref, length(r.value) AS bytes, r.backlink,
		(WITH RECURSIVE
			bytes(h) AS (SELECT hex(r.cid) || '0000'),
			bits(i, s) AS (
				SELECT 0, 'b'
				UNION ALL
				SELECT i + 1, s || substr('abcdefghijklmnopqrstuvwxyz234567', 1 + ((
					(instr('0123456789ABCDEF', substr(h, i*5/8*2+1, 1)) - 1 << 12) +
					(instr('0123456789ABCDEF', substr(h, i*5/8*2+2, 1)) - 1 << 8) +
					(instr('0123456789ABCDEF', substr(h, i*5/8*2+3, 1)) - 1 << 4) +
					(instr('0123456789ABCDEF', substr(h, i*5/8*2+4, 1)) - 1)
					) >> (11 - i*5%8) & 31), 1)
				FROM bits, bytes WHERE i * 5 < length(r.cid) * 8)
			SELECT s FROM bits ORDER BY i DESC LIMIT 1) AS cid
	FROM records r JOIN accounts a ON a.generation = r.generation;
CREATE VIEW account_blobs AS
	SELECT a.did, b.cid, b.key, b.mime_type, b.size, b.uploader, b.temporary, b.public,
		b.takedown_ref, datetime(b.created_at / 1000, 'unixepoch') AS created
	FROM blobs b JOIN accounts a ON a.id = b.account;
