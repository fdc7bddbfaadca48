#!/bin/sh
# Unpacks MySQL from Debian unstable into a folder of its own, with the
# libraries that it needs, and leaves this machine's packages alone.
set -eu
dir=$1
command -v mmdebstrap >/dev/null || {
	[ "$(id -u)" = 0 ] || { echo "mmdebstrap is missing, and only root can install it" >&2; exit 1; }
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends mmdebstrap
}
rm -rf "$dir.new"
mkdir -p "$(dirname "$dir")"
mmdebstrap --quiet --variant=extract --include=mysql-server-core \
	--aptopt='Acquire::Check-Valid-Until "false"' unstable "$dir.new"
cat >"$dir.new/mysqld" <<'RUN'
#!/bin/sh
root=$(dirname "$(readlink -f "$0")")
exec "$root"/usr/lib/*/ld-linux-*.so.? --library-path "$(echo "$root"/usr/lib/*-linux-gnu):$root/usr/lib/mysql/private" \
	"$root/usr/sbin/mysqld" "$@" --basedir="$root/usr"
RUN
chmod +x "$dir.new/mysqld"
"$dir.new/mysqld" --no-defaults --version >/dev/null
mv "$dir.new" "$dir"
