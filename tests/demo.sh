#!/usr/bin/env bash
# The quickstart, alive, on one machine: applies examples/quickstart.yaml, connects a phone with the config that warpctl
# prints, pings the internet through the gateway, shows the status and takes everything down again. As root:
#   tests/demo.sh             WARPCTL=/path/to/warpctl to name another one
#   tests/demo.sh --web       a laptop connects as well, warpd and its dashboard run, and it stays until the line to web_demo.py
#                             ends (`./run demo --web`), which makes the dashboard's port one of the machine
#
#   phone (client)          isp (router, "the internet")                gw (warpctl runs here)
#   192.0.2.2/30 ---------- 192.0.2.1/30      203.0.113.254/24 -------- 203.0.113.1/24
#   laptop: 192.0.2.6/30 -- 192.0.2.5/30
#   2001:db8:c::2/64        198.51.100.7, 2001:db8:51::7 (to ping)      2001:db8:113::1/64
#                           10.9.9.9 (private: must not answer)
#
# All of it lives in namespaces of this script alone, with a /run of their own: the machine's own links, routes, firewall
# and namespaces are not seen and not touched, and whatever happens to the script, nothing stays behind.
set -euo pipefail

HERE=$(cd "$(dirname "$(realpath "$0")")/.." && pwd)
CONFIG=$HERE/examples/quickstart.yaml
ENDPOINT=privacy/phone-1
WEB=
[ "${1:-}" != --web ] || WEB=${WARPD_DEMO_LINE:?the dashboard needs a way out: ./run demo --web}
LIMIT_S=${WARPD_DEMO_LIMIT_S:-300} # generous: an emulated machine is thirty times slower

if [ "${WARPD_DEMO:-}" != inside ]; then
    [ "$(id -u)" = 0 ] || { echo "demo: run it as root (it makes network namespaces)" >&2; exit 1; }
    code=0
    WARPD_DEMO=inside timeout --foreground -s KILL "$LIMIT_S" unshare --net --mount --propagation private \
        --pid --fork --kill-child --mount-proc "$0" "$@" || code=$?
    [ $code != 137 ] || echo "demo: FAILED: not done within $LIMIT_S s" >&2
    exit $code
fi

# ------------------------------------------------------------------------------------------------------------ its own room

START=${EPOCHREALTIME/[.,]/}
STATE=/run/warpd-demo/state
seconds() { local us=$((${EPOCHREALTIME/[.,]/} - START)); printf '%d.%d' $((us / 1000000)) $((us / 100000 % 10)); }
step() { printf '\n[%5s s] %s\n' "$(seconds)" "$*"; }
fail() { printf '\ndemo: FAILED after %s s: %s\n' "$(seconds)" "$*" >&2; exit 1; }
quietly() { local out; out=$("$@" 2>&1) || { printf '%s\n' "$out" >&2; fail "$*"; }; }
starts() { local i; for i in $(seq 300); do ! "$@" >/dev/null 2>&1 || return 0; sleep 0.2; done; fail "it does not start: $*"; }
become_in_ns() { local name=$1; shift; exec nsenter --net="/run/netns/$name" "$@"; } # only with & behind it: `kill` reaches the program
in_ns() { local name=$1; shift; nsenter --net="/run/netns/$name" "$@"; }
warpctl() { in_ns gw "${WARPCTL_COMMAND[@]}" -c "$CONFIG" --state-dir "$STATE" "$@"; }
# A first packet may be lost to the handshake; a ping that never comes back is a failure.
reaches() { local i; for i in 1 2 3 4 5 6 7 8 9 10; do in_ns "${2:-phone}" ping -n -c1 -W1 "$1" >/dev/null && return; done; return 1; }

trap 'fail "interrupted"' INT TERM
trap 'code=$?; [ $code = 0 ] || [ -n "${SAID:-}" ] || echo "demo: ended with $code" >&2' EXIT
mount -t tmpfs run /run
mkdir -p /run/netns /run/wireguard /run/lock /run/warpd /run/warpd-demo/bin
if [ -n "$WEB" ]; then # the dashboard may change the YAML: its own copy
    cp "$CONFIG" /run/warpd-demo/warp.yaml
    CONFIG=/run/warpd-demo/warp.yaml
fi

if [ -n "${WARPCTL:-}" ]; then
    WARPCTL_COMMAND=("$WARPCTL")
elif [ -x "$HERE/.venv/bin/warpctl" ]; then
    WARPCTL_COMMAND=("$HERE/.venv/bin/warpctl")
elif command -v warpctl >/dev/null; then
    WARPCTL_COMMAND=(warpctl)
else
    fail "no warpctl: './run demo' makes one in .venv and comes back here"
fi
BIN=$(dirname "$(command -v "${WARPCTL_COMMAND[0]}")")
for tool in wg wg-quick nft ip ping nsenter; do
    command -v $tool >/dev/null || fail "$tool is missing (apt install wireguard-tools nftables iproute2 iputils-ping)"
done

# wg-quick tells the resolver about DNS servers by resolvconf; here a stand-in writes down what it is told.
STAND_IN=/run/warpd-demo/bin/resolvconf
printf '#!/bin/sh\n{ echo "$*"; cat; } >>/run/warpd-demo/resolvconf.log\n' >$STAND_IN
chmod 755 $STAND_IN
type -ap resolvconf | while read -r real; do mount --bind $STAND_IN "$(realpath "$real")"; done || true
export PATH=/run/warpd-demo/bin:$PATH

if ip link add probe type wireguard 2>/dev/null; then
    ip link del probe
    WIREGUARD="the kernel's"
elif command -v wireguard-go >/dev/null; then
    WIREGUARD="wireguard-go (this kernel has none)"
else
    fail "this kernel has no WireGuard: modprobe wireguard, or apt install wireguard-go"
fi

# ----------------------------------------------------------------------------------------------------------------- the demo

step "1/6  three hosts in namespaces: a phone, the internet, a gateway. WireGuard: $WIREGUARD"
for name in phone isp gw; do
    ip netns add $name
    ip -n $name link set lo up
    in_ns $name sh -c 'for f in all default; do echo 0 >/proc/sys/net/ipv6/conf/$f/accept_dad; done'
done
ip -n isp link add phone type veth peer name eth0 netns phone
ip -n isp link add gw type veth peer name eth0 netns gw
ip -n isp -batch - <<'IP'
addr add 192.0.2.1/30 dev phone
addr add 2001:db8:c::1/64 dev phone
addr add 203.0.113.254/24 dev gw
addr add 2001:db8:113::fe/64 dev gw
addr add 198.51.100.7/32 dev lo
addr add 2001:db8:51::7/128 dev lo
addr add 10.9.9.9/32 dev lo
link set phone up
link set gw up
IP
in_ns isp sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding'
ip -n phone -batch - <<'IP'
addr add 192.0.2.2/30 dev eth0
addr add 2001:db8:c::2/64 dev eth0
link set eth0 up
route add default via 192.0.2.1
route add default via 2001:db8:c::1
IP
ip -n gw -batch - <<'IP'
addr add 203.0.113.1/24 dev eth0
addr add 2001:db8:113::1/64 dev eth0
link set eth0 up
route add default via 203.0.113.254
route add default via 2001:db8:113::fe
IP

if [ -n "$WEB" ]; then
    ip netns add laptop
    ip -n laptop link set lo up
    ip -n isp link add laptop type veth peer name eth0 netns laptop
    ip -n isp addr add 192.0.2.5/30 dev laptop
    ip -n isp link set laptop up
    ip -n laptop addr add 192.0.2.6/30 dev eth0
    ip -n laptop link set eth0 up
    ip -n laptop route add default via 192.0.2.5
fi

step "2/6  warpctl apply ${CONFIG#"$HERE"/}"
warpctl apply --yes || fail "warpctl apply"
code=0
warpctl plan >/dev/null || code=$?
[ $code = 0 ] || fail "the second plan is not empty (exit $code)"
echo "a second plan has nothing to do"

step "3/6  warpctl endpoint config $ENDPOINT, and wg-quick up on the phone"
umask 077
warpctl endpoint config $ENDPOINT >/run/warpd-demo/phone.conf || fail "warpctl endpoint config"
sed -E 's/^((PrivateKey|PresharedKey) *= *).*/\1(not shown)/' /run/warpd-demo/phone.conf
quietly in_ns phone wg-quick up /run/warpd-demo/phone.conf

step "4/6  from the phone, through the gateway"
for target in 198.51.100.7 2001:db8:51::7; do
    reaches $target || fail "no answer from $target"
    in_ns phone ping -n -c3 -i 0.2 -W1 $target | sed -n 's/^rtt/  '"$target"' answers: rtt/p'
done
ip -n phone route get 198.51.100.7 | grep -q ' dev phone ' || fail "the phone does not use the tunnel"
if in_ns phone ping -n -c1 -W1 10.9.9.9 >/dev/null; then fail "10.9.9.9 answered: a private address was reached"; fi
echo "  10.9.9.9 does not: private ranges are out of reach"

# The laptop and the phone stay connected: each pings every few seconds. warpd, and the dashboard with the certificate and the
# link that `warpctl web` makes; it listens in the gateway's namespace alone, and the line leads to it from the machine's loopback.
web() {
    local origin=$WARPD_DEMO_ORIGIN port=${WARPD_DEMO_ORIGIN##*:} folder=/run/warpd-demo pids=() name print relay
    warpctl endpoint config privacy/laptop-1 >$folder/laptop.conf || fail "warpctl endpoint config"
    quietly in_ns laptop wg-quick up $folder/laptop.conf
    reaches 198.51.100.7 laptop || fail "no answer to the laptop"
    for name in phone laptop; do
        become_in_ns $name ping -n -q -i 5 198.51.100.7 >/dev/null &
        pids+=($!)
    done
    become_in_ns gw "$BIN/warpd" -c "$CONFIG" --state-dir "$STATE" >$folder/warpd.log 2>&1 &
    pids+=($!)
    starts test -S /run/warpd/warpd.sock
    print=$(warpctl web init --folder $folder --origin "$origin" | sed -n '1p')
    become_in_ns gw "$BIN/warpd-web" --origin "$origin" --listen "127.0.0.1:$port" --certificate $folder/web/certificate.pem \
        --key $folder/web/key.pem 2>$folder/web.log &
    pids+=($!)
    starts in_ns gw bash -c ": </dev/tcp/127.0.0.1/$port"
    starts eval '[ "$(warpctl status | grep -c " online")" = 2 ]'
    coproc RELAY { become_in_ns gw "$BIN/python" "$HERE/tests/relay.py" "$WEB" "127.0.0.1:$port"; }
    relay=$RELAY_PID
    read -r <&"${RELAY[0]}" || fail "the line to the machine has ended"
    printf '\n  The dashboard is at %s, on this machine alone. Sign in, once, within ten minutes:\n\n    %s\n\n' \
        "$origin" "$(warpctl web login --url "$origin" 2>/dev/null)"
    printf '  The browser asks about the certificate, which nobody has signed. %s\n' "$print"
    printf '  Two clients are connected. Ctrl-C takes everything down.\n'
    wait "$relay" || true
    kill "${pids[@]}"
    wait "${pids[@]}" || true
}

if [ -n "$WEB" ]; then
    step "5/6  the dashboard"
    web
else
    step "5/6  warpctl status"
    warpctl status || fail "warpctl status"
fi

step "6/6  warpctl destroy"
warpctl destroy --yes || fail "warpctl destroy"
left=$(ip netns list | grep '^warp-' || true)$(ip -n gw -d link show | grep 'alias warpd:' || true)$(in_ns gw nft list tables)
[ -z "$left" ] || fail "destroy left: $left"
SAID=1
printf '\ndemo: OK in %s s: a phone reached the internet by IPv4 and IPv6 through the gateway; nothing is left of it.\n' "$(seconds)"
