#!/bin/bash
# with-engine.sh [--or-skip] COMMAND...: runs a command that needs a Docker
# engine, with RINGWAY_SHARD_BASE set for the images. Where no engine answers,
# root on Debian gets one that lives as long as the command, with a socket and
# data of its own, so that it does not meddle with one that is merely stopped.
# Where none can be had, --or-skip makes that no failure, except in CI.
set -u
orskip=
if [ "${1-}" = --or-skip ]; then orskip=1; shift; fi
here=$(cd "$(dirname "$0")" && pwd)

give_up() {
	echo "no Docker engine answers, and none can be brought: $1" >&2
	[ -n "$orskip" ] && [ -z "${CI-}" ] && { echo "skipped what needs containers" >&2; exit 0; }
	exit 1
}
answers() { timeout 10 docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }
has_compose() { docker compose version >/dev/null 2>&1 || command -v docker-compose >/dev/null; }
install() {
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=120 "$@" >/dev/null 2>&1 ||
		{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null; }
}
may_install() {
	[ -z "${DOCKER_HOST-}" ] || give_up "DOCKER_HOST names another"
	[ "$(uname -s)" = Linux ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || give_up "that takes root on Debian"
}

dir= keeper=
# cleanup ends the engine, also one that is only now being started and has no
# pid file yet. A second signal would have dockerd leave its containers running.
cleanup() {
	[ -n "$dir" ] || return
	touch "$dir/stop"
	local asked=
	for _ in $(seq 150); do
		[ -n "$keeper" ] && kill -0 "$keeper" 2>/dev/null || break
		[ -n "$asked" ] || { [ -s "$dir/pid" ] && kill "$(cat "$dir/pid")" 2>/dev/null && asked=1; }
		sleep 0.2
	done
	[ -n "$keeper" ] && kill -0 "$keeper" 2>/dev/null && [ -s "$dir/pid" ] && kill -KILL "$(cat "$dir/pid")" 2>/dev/null
	rm -rf "$dir"
}
trap cleanup EXIT

# keep starts the engine again when a test has ended it, until it is to stop or dies young.
keep() {
	while [ ! -e "$dir/stop" ]; do
		local began=$SECONDS
		setsid dockerd --config-file "$dir/daemon.json" --host "unix://$dir/docker.sock" --data-root "$data" \
			--exec-root "$dir/x" --pidfile "$dir/pid" >>"$dir/log" 2>&1
		[ $((SECONDS - began)) -ge 3 ] || return
	done
}

if ! answers; then
	may_install
	command -v dockerd >/dev/null || install docker.io || give_up "docker.io cannot be installed"
	command -v docker >/dev/null || install docker-cli || give_up "docker-cli cannot be installed" # newer Debians have it by itself
fi
if ! has_compose; then
	may_install
	install docker-compose || give_up "docker-compose cannot be installed"
fi
if ! answers; then # the package may have started it
	dir=$(mktemp -d /tmp/rwe-XXXXXX) # short: sockets lie in it
	data=${XDG_CACHE_HOME:-$HOME/.cache}/ringway-engine
	# The machine's settings (its storage driver, its mirrors) without what our flags say.
	{ cat /etc/docker/daemon.json 2>/dev/null || echo '{}'; } | tr -d '\n' |
		sed -E 's/"hosts"[^]]*\],?//; s/"(data-root|graph|exec-root|pidfile)"[^,}]*,?//g; s/,[[:space:]]*\}/}/' >"$dir/daemon.json"
	echo "no Docker engine answers: starting one for as long as it is needed" >&2
	keep & keeper=$!
	export DOCKER_HOST="unix://$dir/docker.sock" RINGWAY_SOCKET="$dir/docker.sock" RINGWAY_ENGINE_PID="$dir/pid"
	for _ in $(seq 300); do
		answers && break
		kill -0 "$keeper" 2>/dev/null || give_up "dockerd ended: $(tail -n 1 "$dir/log")"
		sleep 0.2
	done
	answers || give_up "dockerd does not answer: $(tail -n 1 "$dir/log")"
fi

if [ -z "${RINGWAY_SHARD_BASE-}" ]; then
	RINGWAY_SHARD_BASE=$("$here/base.sh") && export RINGWAY_SHARD_BASE ||
		{ unset RINGWAY_SHARD_BASE; echo "no image with a database server can be had: shard servers use SQLite" >&2; }
fi
"$@"
