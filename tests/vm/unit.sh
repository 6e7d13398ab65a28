#!/usr/bin/env bash
# In the virtual machine (LAB_SYSTEMD=1): the package installed, its unit running, and the packet tests against that gateway.
# usage: unit.sh REPOSITORY PYTHON pytest arguments
set -euo pipefail
cd "$1"
python=$2
shift 2
dpkg -i dist/warpd_*.deb
export WARPD_TEST_UNIT=1 WARPD_TEST_WARPCTL=/usr/bin/warpctl PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
rc=0
"$python" -m pytest -p no:cacheprovider --junitxml=/vmout/junit.xml "$@" || rc=$?
systemctl is-active warpd
journalctl -o cat -u warpd | grep -E '"level": "error"|Traceback' | head -20 || true
systemctl show warpd -p NRestarts -p CapabilityBoundingSet -p SystemCallArchitectures -p RestrictNamespaces
exit $rc
