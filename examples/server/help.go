package main

import (
	"fmt"
	"io"
	"strings"
)

const usageHead = `usage: server [-env-file FILE] [COMMAND]

Without a command, or with "serve", it runs the server until SIGINT or SIGTERM.
All configuration comes from environment variables, or from FILE with lines
NAME=value. With no PDS_* name at all it runs in development mode: it listens
on http://localhost:2583, on this machine only, keeps its data in ./pds-data
and is its own PLC directory. PDS_DEV_MODE=true does the same and lets PDS_PORT,
PDS_DATA_DIRECTORY and others be chosen. For a public server these are required:

  PDS_HOSTNAME, PDS_DATA_DIRECTORY, PDS_JWT_SECRET, PDS_ADMIN_PASSWORD,
  PDS_PLC_ROTATION_KEY_K256_PRIVATE_KEY_HEX

Administration, by talking to the running server (a backup is also made of one
that is stopped; a restore needs one that is). An ACCOUNT is a DID, a handle or
an e-mail address:

`

const usageTail = `
Each takes -json, for programs; -yes, to be asked nothing; and -url URL, if the
server is not where the configuration says. The administrator's password comes
from the configuration. The exit status is 0 if all went well, 2 for a mistake
on the command line, else 1.

  help            this text
  help COMMAND    more about a command, or a group of them
  help env        all environment variables
`

// What "server help COMMAND" says besides.
const (
	moreCreate = `Makes an invite code of its own where sign-up needs one. The owner can change
the password, with it or by mail.`

	moreReset = `All sessions of the account end. A password that was set by an administrator
passes through your hands: with "mail" the owner chooses one, by a code that is
sent to the account's address and works for 15 minutes.`

	moreTakedown = `The account, its records and its blobs are hidden and its sessions end, until
"account untakedown". REF is a note for yourself, such as the number of a case.
Its owner can still sign in to appeal and to move elsewhere.`

	moreDeactivate = `Hides what the account has, but lets its owner sign in and activate it again.
For accounts that have moved elsewhere, which "doctor" finds.`

	moreDelete = `Deletes the account here with its records and blobs and tells the network so.
Its identity in the PLC directory stays. It is asked for unless -yes is given.
There is no way back but a backup of the whole server: export the account first.`

	moreExport = `The archive explains itself: the repository as a CAR, blobs, preferences, and the
documents of extensions. It holds no secrets but an e-mail address. FILE is
HANDLE.zip if it is not given, and is not overwritten.`

	moreMoveIn = `Asks for the account's password on the old server, for a second factor if that
wants one, and for the code that it mails. It may be interrupted: the same command
goes on. The password of the account here is printed at the end. With -json the
questions are not printed; the answers are lines of the standard input.`

	moreKeys = `There are three kinds of keys:

  signing keys    one for each account, made here; they sign its commits. They
                  are in the database, sealed by the master key, and in every
                  backup. No command shows them.
  master key      the file master.key in the data directory. Without it no
                  account can write. "key backup" copies it: keep the copy where
                  no backup of the database is, since whoever has both can sign
                  for every account.
  rotation key    PDS_PLC_ROTATION_KEY_K256_PRIVATE_KEY_HEX: it changes the
                  identities of accounts. Only the configuration has it.`

	moreRotate = `The server makes a key, names it in the account's identity, and signs a new
commit with it. Do it when an old key may have been seen by others.`

	moreSeq = `Events are numbered by the clock, in microseconds since 1970, and always
upwards, so numbers go on above all earlier ones also after a restore. They have
to be raised only if consumers hold cursors above them: when this server takes
the place of one that numbered otherwise, or whose clock was ahead. Consumers
that are ahead get nothing until the numbers have caught up; they say so as
"FutureCursor". Raising cannot be undone, and is asked for unless -yes is given.`

	moreDoctor = `Looks at the configuration, files, disk, clock, DNS, certificate, PLC directory,
relays, jobs, and at 20 accounts that chance picks, or all of them: signature,
tree, records, blobs and identity. Each finding has a cause and a next step. The
exit status is 1 if there is a problem. Checking all accounts reads all data.`

	moreBackup = `Run it on the server's machine, as its user. Everything that was acknowledged
before is in the backup; it is complete when it has manifest.json. It holds all
secrets of the server, so nobody else may read it.`

	moreRestore = `Run it while the server is stopped. Everything is verified. What was
acknowledged after the backup is lost; relays go on by themselves when the
server is started.`

	moreAdopt = `Run it once, with the configuration of the old server but for another
PDS_DATA_DIRECTORY (and PDS_BLOBSTORE_DISK_LOCATION), while both servers are
stopped. Accounts come with their repositories, blobs, passwords, app passwords,
sessions, preferences, invite codes and signing keys; who follows the firehose
goes on. The old data is only read, and everything is verified: with -dry-run
that is all, which may be done beside a copy of the data.

Blobs are looked for in "blocks" or "blobs" below DIR, uploads that are not
posted yet in "tempt" below those; -blobs and -temp-blobs name other places.

An interrupted adoption goes on when the command is given again. An account with
damage is left out and named, and the exit status is 1; after a repair, -account
adopts it alone. The report stays in adoption.json in the data directory.`

	moreClock = `A clock that jumps ahead is not believed, and nothing is deleted meanwhile, until
it is right again or accepted by this command. Accept it only if it is right.`
)

// usageColumn is how wide commands are beside which their help stands.
const usageColumn = 30

func usage() string {
	var b strings.Builder
	b.WriteString(usageHead)
	for _, c := range commands() {
		if len(c.usage()) > usageColumn {
			fmt.Fprintf(&b, "  %s\n  %*s  %s\n", c.usage(), usageColumn, "", c.help)
			continue
		}
		fmt.Fprintf(&b, "  %-*s  %s\n", usageColumn, c.usage(), c.help)
	}
	b.WriteString(usageTail)
	return b.String()
}

// usage is a command with its arguments.
func (c *command) usage() string { return strings.TrimSpace(c.name + " " + c.arguments) }

// printHelp explains the commands that begin with words, or all without any.
func printHelp(w io.Writer, words []string) error {
	if len(words) == 0 || words[0] == "serve" {
		_, err := io.WriteString(w, usage())
		return err
	}
	topic := strings.Join(words, " ")
	var found []command
	for _, c := range commands() {
		if topic == c.name || strings.HasPrefix(c.name, topic+" ") || strings.HasPrefix(topic, c.name+" ") {
			found = append(found, c)
		}
	}
	if len(found) == 0 {
		return usageError(fmt.Sprintf("there is no command %q", topic))
	}
	var b strings.Builder
	said := ""
	for i, c := range found {
		if i > 0 && (c.more != said || c.more == "") {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "server %s\n    %s\n", c.usage(), c.help)
		last := i == len(found)-1 || found[i+1].more != c.more
		if said = c.more; said != "" && last {
			b.WriteString("\n    " + strings.ReplaceAll(said, "\n", "\n    ") + "\n")
		}
	}
	_, err := io.WriteString(w, strings.ReplaceAll(b.String(), "\n    \n", "\n\n"))
	return err
}
