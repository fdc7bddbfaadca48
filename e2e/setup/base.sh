#!/bin/bash
# Prints the image on which the tests make that of shard servers: mysql:8.4
# where the engine has it or can pull it, else one that is made here, once, of
# Debian's packages (mmdebstrap unpacks them; nothing of this machine changes).
set -euo pipefail
base=ringway-shard-base:1
have() { docker image inspect "$1" >/dev/null 2>&1; }
for image in "$base" mysql:8.4; do
	if have "$image"; then echo "$image"; exit; fi
done
if docker pull -q mysql:8.4 >/dev/null 2>&1; then echo mysql:8.4; exit; fi

dir=$(cd "$(dirname "$0")/../.." && pwd)/.cache/mysql
echo "mysql:8.4 cannot be pulled: making $base of Debian's packages, once (about a minute)" >&2
[ -x "$dir/mysqld" ] || "$(dirname "$0")/../../shard/mysql/install.sh" "$dir" >&2
# What a database server and its libraries need to run; no shell, for nothing here calls one.
cd "$dir"
for top in lib lib64; do
	[ ! -d "usr/$top" ] || [ -e "$top" ] || ln -s "usr/$top" "$top"
done
tar -c --exclude='*perl*' --exclude='*python*' --exclude='*gdb/*' --exclude='*telemetry*' --exclude='*group_replication*' \
	lib* usr/lib* usr/sbin/mysqld usr/share/mysql usr/share/doc/*/copyright etc/ld.so.conf.d |
	docker import - "$base" >/dev/null
echo "$base"
