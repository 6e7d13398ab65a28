#!/usr/bin/env bash
# In the virtual machine (its root is a throw-away overlay; LAB_SYSTEMD=1): install the package, apply, run the daemon as the
# unit that it ships, upgrade, remove, purge.
set -euo pipefail
cd "$1"
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
check() { printf '%-60s' "$1"; shift; if "$@" >/tmp/out 2>&1; then echo yes; else echo NO; cat /tmp/out; journalctl -u 'warpd*' --no-pager -n 40; exit 1; fi; }
waits() { for _ in $(seq 300); do "$@" >/dev/null 2>&1 && return; sleep 0.2; done; "$@"; }
warpctl=/usr/bin/warpctl

ip link add eth0 type veth peer name isp
ip link set eth0 up && ip link set isp up
ip addr add 203.0.113.1/24 dev eth0
ip route add default via 203.0.113.254

check "installs" dpkg -i dist/warpd_*.deb
check "its groups are there" getent group warpd warpd-read warpd-web warpd-metrics
check "warpctl runs, from another folder" sh -c 'cd / && /usr/bin/warpctl --version'
cp /usr/share/warpd/examples/quickstart.yaml /etc/warpd/warp.yaml
check "names at TAB" sh -c '/usr/lib/warpd/complete 3 warpctl endpoint show privacy/p | grep privacy/phone-1'
check "a man page" sh -c 'zcat /usr/share/man/man1/warpctl.1.gz | grep "warpctl validate"'
check "the example is valid" $warpctl validate
check "the unit is enabled" systemctl is-enabled warpd
check "the unit starts, and says when it is ready" systemctl start warpd
check "in sync" $warpctl plan
check "a config comes out" $warpctl endpoint config privacy/phone-1
for mode in namespace vrf; do
    sed "s/^gateway:.*/&\n  isolation: $mode/; /^ *isolation:/{/  isolation: $mode\$/!d}" /usr/share/warpd/examples/everything.yaml >/tmp/new.yaml
    cp /tmp/new.yaml /etc/warpd/warp.yaml
    check "every type in ${mode}s, by the daemon under its unit" waits $warpctl plan
done
ip link del "$(ip -o link | grep -o 'wg-[0-9]*' | head -1)"
check "what was deleted by hand is back" waits $warpctl plan
check "it hears the kernel" sh -c '! journalctl -u warpd | grep "kernel event subscription failed"'
check "no TCP port unasked" sh -c '! systemctl is-enabled warpd-metrics.socket'
check "metrics by TCP" sh -c 'systemctl start warpd-metrics.socket && curl -sf 127.0.0.1:9586/metrics | grep "^warpd_build_info"'
check "and nothing else" sh -c 'test "$(curl -s -o /dev/null -w "%{http_code}" 127.0.0.1:9586/v1/status)" = 403'

# The dashboard, as the operator's guide sets it up, over TLS with the certificate that was made.
check "nothing listens before" sh -c '! systemctl is-enabled warpd-web.socket && ! test -e /etc/warpd/web'
check "warpctl web init" $warpctl web init
check "the dashboard's socket starts" systemctl start warpd-web.socket
origin=https://localhost:8443
browser() { curl -sSf -m 60 --cacert /etc/warpd/web/certificate.pem --resolve localhost:8443:127.0.0.1 -b /tmp/jar -c /tmp/jar "$@"; }
send() { browser -H "Origin: $origin" -H "Sec-Fetch-Site: same-origin" "$@"; }
check "the page to sign in" sh -c "$(declare -f browser); browser $origin/login | grep '<form'"
link=$($warpctl web login 2>/dev/null)
check "signs in by a link" send -o /dev/null --data-urlencode "login=${link#*#}" $origin/login
check "pages show the networks" sh -c "$(declare -f browser); browser $origin/networks | grep '>privacy</a>'"
rm /tmp/jar
check "without the session they do not" sh -c "$(declare -f browser); browser -w '%{redirect_url}' $origin/networks | grep -x $origin/login"
check "warpd-web is its own user, without capabilities" \
    sh -c 'pid=$(systemctl show -P MainPID warpd-web) && test "$(stat -c %U /proc/$pid)" = warpd-web && grep -x "CapEff:.*0000000000000000" /proc/$pid/status'
check "and reads neither keys nor the configuration" \
    sh -c 'pid=$(systemctl show -P MainPID warpd-web) && for f in /var/lib/warpd/master.key /etc/warpd/warp.yaml; do
        ! nsenter --mount --target $pid -- setpriv --reuid warpd-web --regid warpd-web --clear-groups cat $f || exit 1; done'

# Webhooks: warpd-notify sends what it hears to a receiver here.
cat >/tmp/receiver.py <<'END'
from http.server import BaseHTTPRequestHandler, HTTPServer
class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        with open("/tmp/received", "ab") as file:
            file.write(self.rfile.read(int(self.headers["content-length"])) + b"\n")
        self.send_response(204)
        self.end_headers()
HTTPServer(("127.0.0.1", 8099), Receiver).serve_forever()
END
systemd-run -q --unit=receiver python3 /tmp/receiver.py
install -m 600 /dev/stdin /etc/warpd/notify.yaml <<END
webhooks: [{url: "http://127.0.0.1:8099/hook", secret: "$(warpd-notify --new-secret)"}]
END
check "warpd-notify starts" systemctl start warpd-notify
# It sends what happens from when it listens on, which is some time after it was started.
breaks_until_told() {
    for _ in $(seq 20); do
        ip link del "$(ip -o link | grep -o 'wg-[0-9]*' | head -1)" || true
        for _ in 1 2 3 4; do ! grep '"network"' /tmp/received || return 0; sleep 1; done
    done
    return 1
}
check "an event comes by a webhook" breaks_until_told
for unit in warpd-web warpd-notify; do check "$unit has not failed" sh -c "systemctl is-active $unit && test \$(systemctl show -P NRestarts $unit) = 0"; done
check "in sync after that" waits $warpctl plan

# What is started for one request each: warpd-propose, which has the key of the git server, and warpd-oidc, which speaks to the provider.
ask() { printf '%s\n' "$2" | timeout 60 nc -N -U "/run/warpd-$1.sock"; } # a request, and the answer
main_pid() { systemctl show -P MainPID "warpd-$1@*" | grep -v '^0$' | grep .; }
# as_promised NAME: of the process that waits for a request, all that its unit says of user and rights.
as_promised() {
    local pid uid file
    pid=$(main_pid "$1")
    uid=$(stat -c %u "/proc/$pid")
    ((uid >= 61184 && uid <= 65519)) || { echo "uid $uid is of no DynamicUser"; return 1; }
    for line in CapInh:.*0000000000000000 CapPrm:.*0000000000000000 CapEff:.*0000000000000000 CapBnd:.*0000000000000000 CapAmb:.*0000000000000000 \
        NoNewPrivs:.*1 Seccomp:.*2; do
        grep -x "$line" "/proc/$pid/status" || { cat "/proc/$pid/status"; return 1; }
    done
    for file in /var/lib/warpd/master.key /etc/warpd/warp.yaml /etc/warpd/web/key.pem; do
        ! nsenter --mount --target "$pid" -- setpriv --reuid "$uid" --regid "$uid" --clear-groups cat "$file" || return 1
    done
    ! nsenter --mount --target "$pid" -- setpriv --reuid "$uid" --regid "$uid" --clear-groups touch /etc/warpd/x /usr/x /x
}
# unit_of_one NAME: its socket, and what becomes of a request that is none.
unit_of_one() {
    local waiting
    check "nothing listens before: warpd-$1" sh -c "! systemctl is-enabled warpd-$1.socket && ! test -e /run/warpd-$1.sock"
    check "warpd-$1.socket starts" systemctl start "warpd-$1.socket"
    check "only root connects to it" sh -c "stat -c '%U %a' /run/warpd-$1.sock | grep -x 'root 600'"
    sleep 60 | nc -U "/run/warpd-$1.sock" >/dev/null &
    waiting=$!
    check "it is started by the first connection" waits main_pid "$1"
    check "a user of its own, without capabilities and files of others" as_promised "$1"
    kill "$waiting"
    check "what is no request is refused in words" sh -c "$(declare -f ask); ask $1 '{}' | grep 'this is no request'"
}

git_as() { git -c user.name=ops -c user.email=ops@example.com "$@"; }
git init -q -b main /tmp/seed
cp /etc/warpd/warp.yaml /tmp/seed
git -C /tmp/seed add warp.yaml
git_as -C /tmp/seed commit -q -m "as it is"
git clone -q --bare /tmp/seed /srv/gateway.git
systemd-run -q --unit=git-server git daemon --base-path=/srv --export-all --enable=receive-pack --listen=127.0.0.1
install -d -m 700 /etc/warpd/propose
install -m 600 /dev/stdin /etc/warpd/propose/settings.yaml <<<"repository: git://127.0.0.1/gateway.git"
unit_of_one propose
printf 'version: 1\nsource: {git: "git://127.0.0.1/gateway.git", interval: 5s}\n' >/etc/warpd/warp.yaml
check "the YAML comes from git" sh -c "systemctl restart warpd && $(declare -f waits); waits $warpctl plan"
api() { curl -sSf --unix-socket /run/warpd/warpd.sock "http://warpd$1" -d "$2"; }
change=$(api /v1/changes '{"edits": [{"op": "set_network", "network": "privacy", "fields": {"description": "by a branch"}}]}' | grep -o '"id": *"[^"]*"' | head -1 | cut -d'"' -f4)
check "a change is pushed as a branch" \
    sh -c "$(declare -f api); api /v1/changes/$change/propose '{\"message\": \"Say what it is\", \"branch\": true}' | grep '\"name\": *\"warpd/'"
check "the branch has it, and main has not" \
    sh -c "cd /srv/gateway.git && git show 'warpd/$(cut -c-12 <<<"$change"):warp.yaml' | grep 'by a branch' && ! git show main:warp.yaml | grep 'by a branch'"
git --git-dir=/srv/gateway.git update-ref refs/heads/main "warpd/$(cut -c-12 <<<"$change")"
check "merged, it is pulled and in force" waits sh -c "$warpctl network show privacy | grep 'by a branch'"

install -d -m 700 /etc/warpd/oidc
sed 's,https://id.example.com,https://127.0.0.1:9,' /usr/share/warpd/examples/oidc/settings.yaml >/etc/warpd/oidc/settings.yaml
unit_of_one oidc
check "the page to sign in offers the provider" sh -c "$(declare -f browser); browser $origin/login | grep 'Sign in with Example login'"
check "a provider that is not there is said" \
    sh -c "$(declare -f ask); ask oidc '{\"code\": \"x\", \"code_verifier\": \"y\", \"redirect_uri\": \"$origin/login/provider/callback\"}' | grep '\"error\"' | grep -v 'no request'"
check "no request is left, and none has failed the gateway" waits sh -c "! systemctl list-units --plain --no-legend 'warpd-propose@*' 'warpd-oidc@*' | grep . && $warpctl plan"

check "killed, the dashboard changes nothing" \
    sh -c "ip -o link >/tmp/before && systemctl kill -s KILL warpd-web && $warpctl plan && ip -o link | cmp - /tmp/before"

before=$(ls /run/netns; ip -o link | wc -l)
check "stops" systemctl stop warpd
check "stopped, the data plane stays" test "$(ls /run/netns; ip -o link | wc -l)" = "$before"
check "starts again" systemctl start warpd
pid=$(systemctl show -P MainPID warpd)
send -o /dev/null $origin/login || true # starts it, where it does not run
web=$(systemctl show -P MainPID warpd-web)
check "upgrades over itself, under way" dpkg -i dist/warpd_*.deb
check "and the dashboard with it" sh -c "test \$(systemctl show -P MainPID warpd-web) -gt 1 -a \$(systemctl show -P MainPID warpd-web) != $web"
check "the new one runs" sh -c "systemctl is-active warpd && test \$(systemctl show -P MainPID warpd) != $pid"
check "killed, it is started again" sh -c "kill -9 \$(systemctl show -P MainPID warpd); sleep 1; ! systemctl is-failed warpd"
check "in sync again" waits sh -c "systemctl is-active warpd && $warpctl plan"
systemctl --no-pager --plain show warpd -p NRestarts -p MemoryCurrent
for unit in warpd warpd-web warpd-notify warpd-metrics warpd-propose@1 warpd-oidc@1 systemd-networkd; do
    printf '%-60s' "systemd-analyze security $unit"
    systemd-analyze security --no-pager $unit.service | sed -n 's/.*exposure level for [^:]*: \([0-9.]* [A-Z]*\).*/\1/p'
done
check "destroy" sh -c "systemctl stop warpd && $warpctl destroy --yes"
check "removes" dpkg -r warpd
check "the state is still there" test -s /var/lib/warpd/master.key
check "purges" dpkg -P warpd
rm -r /etc/warpd
check "no unit of it runs" sh -c '! systemctl list-units --plain --no-legend "warpd*" | grep -E "running|listening"'
check "nothing is left" sh -c '! ls -d /var/lib/warpd* /var/lib/private/warpd* | grep . && ! test -e /usr/lib/warpd && ! test -e /usr/bin/warpd'
