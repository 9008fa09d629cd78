#!/usr/bin/env bash
# Runs clients, servers and consumers of others against our server: the
# official TypeScript clients against the example server, alone and beside the
# reference server, OAuth clients with a browser, and indigo's relay.
#
#   e2e/run.sh [clients|reference|oauth|community|relay]...    all without an argument
#
# Needs go, node and npm. A node that is too old is left alone: a newer one is
# installed below this folder.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

readonly node_needed=24

# install PACKAGE-FOLDER: what its lock file says, unless that is there already.
install() {
	local stamp=$1/node_modules/.installed
	if ! cmp -s "$1/package-lock.json" "$stamp"; then
		npm ci --prefix "$1" --ignore-scripts --no-audit --no-fund --loglevel=error
		cp "$1/package-lock.json" "$stamp"
	fi
}

find_node() {
	local major
	major=$(node -p 'process.versions.node.split(".")[0]' 2>/dev/null || echo 0)
	if ((major < node_needed)); then
		install node
		local dirs=("$PWD"/node/node_modules/node-*/bin)
		PATH=${dirs[0]}:$PATH
	fi
	echo "node $(node --version)"
}

clients() {
	CGO_ENABLED=0 go build -C .. -o e2e/bin/ ./e2e/plc ./examples/server
	find_node
	install clients
	PDSKIT_E2E_BIN=$PWD/bin node --test --test-reporter=spec --test-concurrency=3 clients/*.test.mjs
}

reference() {
	CGO_ENABLED=0 go build -C .. -o e2e/bin/ ./e2e/plc ./e2e/service ./examples/server
	find_node
	install clients
	install reference
	PDSKIT_E2E_BIN=$PWD/bin node --test --test-reporter=spec --test-concurrency=2 clients/reference/*.test.mjs
}

oauth() {
	CGO_ENABLED=0 go build -C .. -o e2e/bin/ ./e2e/plc ./examples/server
	CGO_ENABLED=0 go build -C .. -o e2e/bin/oauth-server ./e2e/oauth/server
	CGO_ENABLED=0 go build -C oauth/indigo -o ../../bin/oauth-indigo .
	find_node
	install clients
	install oauth
	# Clients leave timers behind, which nobody waits for.
	PDSKIT_E2E_BIN=$PWD/bin node --test --test-reporter=spec --test-force-exit oauth/all.test.mjs
}

community() {
	CGO_ENABLED=0 go build -C .. -o e2e/bin/ ./e2e/plc ./examples/community
	find_node
	for folder in clients reference oauth; do
		install "$folder"
	done
	PDSKIT_E2E_BIN=$PWD/bin node --test --test-reporter=spec --test-concurrency=1 --test-force-exit community/*.test.mjs
}

relay() {
	CGO_ENABLED=0 go test -C relay -count=1 "$@" ./...
}

parts=("$@")
if ((${#parts[@]} == 0)); then
	parts=(clients reference oauth community relay)
	# Compiling the relay takes longest: begin while packages are installed.
	relay -run '^$' >/dev/null 2>&1 &
fi

failed=()
for part in "${parts[@]}"; do
	case $part in
	clients | reference | oauth | community | relay) ;;
	*) echo "usage: e2e/run.sh [clients|reference|oauth|community|relay]..." >&2; exit 2 ;;
	esac
	printf '\n--- %s\n' "$part"
	# Not "... || failed+=": behind that, errors would not end the part.
	set +e
	(set -e; "$part")
	status=$?
	set -e
	((status == 0)) || failed+=("$part")
	wait
done
if ((${#failed[@]} > 0)); then
	echo "failed: ${failed[*]}" >&2
	exit 1
fi
