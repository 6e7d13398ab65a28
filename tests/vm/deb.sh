#!/usr/bin/env bash
# In the virtual machine (its root is a throw-away overlay): install the package, apply, run the daemon, upgrade, remove, purge.
set -euo pipefail
cd "$1"
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
check() { printf '%-60s' "$1"; shift; if "$@" >/tmp/out 2>&1; then echo yes; else echo NO; cat /tmp/out; exit 1; fi; }

ip link add eth0 type veth peer name isp
ip link set eth0 up && ip link set isp up
ip addr add 203.0.113.1/24 dev eth0
ip route add default via 203.0.113.254

check "installs" dpkg -i dist/warpd_*.deb
check "its groups are there" getent group warpd warpd-read
check "warpctl runs, from another folder" sh -c 'cd / && /usr/bin/warpctl --version'
cp /usr/share/doc/warpd/examples/quickstart.yaml /etc/warpd/warp.yaml
check "the example is valid" /usr/bin/warpctl validate
(cd / && exec /usr/bin/warpd 2>/tmp/log) &
daemon=$!
for _ in $(seq 100); do [ -S /run/warpd/warpd.sock ] && grep -q '"ready"' /tmp/log && break; sleep 0.2; done
check "the daemon is ready" grep -q '"ready"' /tmp/log
check "in sync" /usr/bin/warpctl plan
check "a config comes out" /usr/bin/warpctl endpoint config privacy/phone-1
before=$(ls /run/netns)
kill "$daemon" && wait "$daemon"
check "stopped, the data plane stays" test "$(ls /run/netns)" = "$before"
check "upgrades over itself" dpkg -i dist/warpd_*.deb
check "still in sync" /usr/bin/warpctl plan
check "destroy" /usr/bin/warpctl destroy --yes
check "removes" dpkg -r warpd
check "the state is still there" test -s /var/lib/warpd/master.key
check "purges" dpkg -P warpd
check "nothing is left" sh -c '! test -e /var/lib/warpd && ! test -e /usr/lib/warpd && ! test -e /usr/bin/warpd'
