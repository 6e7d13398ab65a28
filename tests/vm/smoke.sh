#!/bin/bash
# Does this kernel have what the product and its tests need?  lab run KERNEL OUTDIR 120 'bash REPO/tests/vm/smoke.sh'
# One line a check; the exit code is the number of failures.
set -u
failures=0 checks=0
# in a namespace of its own, whatever the kernel, so that leftovers and built-in devices do not matter
ip netns add smoke && ip netns add peer || exit 1
trap 'ip netns del smoke; ip netns del peer' EXIT

check() { # NAME SCRIPT
    local start=${EPOCHREALTIME/./} output verdict=ok
    checks=$((checks + 1))
    output=$(timeout 30 nsenter --net=/run/netns/smoke bash -ec "$2" 2>&1) || { verdict=FAIL failures=$((failures + 1)); }
    printf '%-4s %6d ms  %s\n' $verdict $(((${EPOCHREALTIME/./} - start) / 1000)) "$1"
    [ $verdict = ok ] || printf '%s\n' "$output" | sed 's/^/       /'
}

check 'clock, entropy, /dev and /vmout' '
    (( $(date +%Y) >= 2024 )); timeout 2 head -c 64 /dev/random >/dev/null
    for f in /dev/net/tun /dev/ptmx /dev/shm /dev/pts /run/netns; do [ -e $f ]; done
    echo ok >/vmout/smoke; [ "$(cat /vmout/smoke)" = ok ]; rm /vmout/smoke; : <(:)'
check 'cgroup2' '[ -e /sys/fs/cgroup/cgroup.procs ]'
check 'wireguard link' '
    ip link add wg0 type wireguard; wg genkey >/tmp/smoke.key
    wg set wg0 private-key /tmp/smoke.key listen-port 51820; ip addr add 10.0.0.1/24 dev wg0; ip link set wg0 up'
check 'vrf with its l3mdev rule' '
    ip link add red type vrf table 100; ip link set red up; ip rule | grep -q l3mdev; ip link set wg0 master red
    ip route show vrf red | grep -q 10.0.0.0/24'
check 'ip vrf exec' 'ip vrf exec red true'
check 'veth to another namespace' '
    ip link add up0 type veth peer name up1 netns peer; ip addr add 192.0.2.1/24 dev up0; ip link set up0 up
    ip -n peer addr add 192.0.2.2/24 dev up1; ip -n peer link set up1 up; ping -qc1 -W2 192.0.2.2'
check 'wireguard packets into the vrf' '
    ip -n peer link add wg1 type wireguard; wg genkey >/tmp/peer.key
    ip netns exec peer wg set wg1 private-key /tmp/peer.key peer $(wg pubkey </tmp/smoke.key) \
        endpoint 192.0.2.1:51820 allowed-ips 10.0.0.1/32
    wg set wg0 peer $(wg pubkey </tmp/peer.key) allowed-ips 10.0.0.2/32
    ip -n peer addr add 10.0.0.2/24 dev wg1; ip -n peer link set wg1 up
    ip netns exec peer ping -qc1 -W8 10.0.0.1; ping -qc1 -W2 -I red 10.0.0.2; wg show wg0 latest-handshakes | grep -qv "\s0$"'
check 'vlan_filtering bridge' '
    ip link add br0 type bridge vlan_filtering 1 vlan_default_pvid 0; ip link set br0 up
    ip link add p0 type veth peer name p1; ip link set p0 master br0; bridge vlan add vid 10 dev p0 pvid untagged
    bridge vlan show dev p0 | grep -q "10 PVID"'
check 'vxlan on the bridge' '
    ip link add vx0 type vxlan id 7 local 10.0.0.1 remote 10.0.0.2 dstport 4789; ip link set vx0 master br0; ip link set vx0 up
    bridge vlan add vid 10 dev vx0'
check 'gretap, gre, ip6gre' '
    ip link add gt0 type gretap local 10.0.0.1 remote 10.0.0.2 key 7; ip link set gt0 up
    ip link add gre1 type gre local 10.0.0.1 remote 10.0.0.2 key 8; ip link add g6 type ip6gre local fd00::1 remote fd00::2'
check '8021q, dummy, macvlan, bond' '
    ip link add link p1 name p1.10 type vlan id 10; ip link add d0 type dummy; ip link add link d0 name mv0 type macvlan
    ip link add bo0 type bond'
check 'tun device' 'ip tuntap add dev tun0 mode tun; ip link set tun0 up'
check 'nft inet: conntrack zones' '
    nft "add table inet t; add chain inet t raw { type filter hook prerouting priority raw; }
         add rule inet t raw iifname { wg0, red } ct original zone set 1; add rule inet t raw iifname br0 ct zone set 2"'
check 'nft inet: masquerade, marks, fib, reject, limit, log' '
    nft "add chain inet t nat { type nat hook postrouting priority srcnat; }; add rule inet t nat oifname up0 masquerade
         add chain inet t filter { type filter hook forward priority filter; }; add rule inet t filter ct mark set 1
         add rule inet t filter meta mark set ct mark; add rule inet t filter fib saddr . iif oif missing drop
         add rule inet t filter limit rate 5/second log prefix \"x\"; add rule inet t filter reject with icmpx admin-prohibited"'
check 'nft inet: sets, maps, counters, quota, dnat' '
    nft "add set inet t s { type ipv4_addr . inet_service; flags interval; }; add element inet t s { 10.0.0.0/8 . 80 }
         add map inet t m { type ifname : verdict; }; add element inet t m { wg0 : accept }; add counter inet t c
         add rule inet t filter iifname vmap @m; add rule inet t filter counter name c quota over 1 mbytes drop
         add chain inet t dn { type nat hook prerouting priority dstnat; }; add rule inet t dn tcp dport 80 dnat ip to 10.0.0.2:81"'
check 'nft: flowtable, bridge, netdev' '
    nft "add flowtable inet t f { hook ingress priority 0; devices = { up0 }; }; add rule inet t filter meta l4proto tcp flow add @f
         add table bridge b; add chain bridge b c { type filter hook forward priority 0; }; add rule bridge b c vlan id 5 drop
         add table netdev n; add chain netdev n i { type filter hook ingress device up0 priority 0; }; add rule netdev n i drop;
         delete table netdev n"'
check 'conntrack with zones' '
    ip netns exec peer ping -qc1 -W2 10.0.0.1; conntrack -L 2>/dev/null | grep -q zone-orig=1'
check 'tc: netem, ingress, police' '
    tc qdisc add dev up0 root netem delay 1ms; tc qdisc add dev up0 ingress
    tc filter add dev up0 parent ffff: matchall action police rate 1mbit burst 10k'
check 'wireguard to another namespace' 'ip link add wg2 type wireguard; ip link set wg2 netns peer; ip -n peer link show wg2'
check 'python3-nftables' '/usr/bin/python3 -c "
import nftables, sys
n = nftables.Nftables(); n.set_json_output(True)
rc, out, err = n.cmd(\"list ruleset\"); sys.exit(rc or \"inet\" not in out)"'
check 'iptables-nft' 'command -v iptables-nft || exit 0
    iptables-nft -A FORWARD -m conntrack --ctstate ESTABLISHED -m comment --comment x -j ACCEPT
    iptables-nft -t nat -A POSTROUTING -o up0 -j MASQUERADE; iptables-nft -A FORWARD -j REJECT'
check 'ipv6: router preference, multiple tables' '
    sysctl -qw net.ipv6.conf.all.accept_ra_rtr_pref=1; ip -6 route add fd01::/64 via fe80::1 dev up0 table 7; ip -6 rule add table 7'

echo "smoke: kernel=$(uname -r) lab=${LAB_KERNEL:-?} checks=$checks failed=$failures seconds=$SECONDS"
exit $failures
