# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# What the scripts of selftests/vm share: where things are, how to fail, and
# the one lock that keeps guests and kernel builds from running side by side.

# Used by the scripts that source this file.
# shellcheck disable=SC2034
{
prog=${0##*/}
vmdir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
top=$(cd "$vmdir/../.." && pwd -P)
build=$top/.build
cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/gcarena
kernels="stock stock-6.12 kasan kcsan"
}

die()
{
	echo "$prog: $*" >&2
	exit 1
}

# The leading comment of a script is its help text.
usage()
{
	sed -n '3,/^[^#]/{s/^# \{0,1\}//p}' "$0"
}

need()
{
	local tool

	for tool; do
		command -v "$tool" >/dev/null ||
			die "$tool is missing; run: $top/selftests/setup"
	done
}

# A guest beside a build (or another guest) is 2 to 4 times slower on two
# cores and runs into its time limit, so they take turns. Descriptor 9 holds
# the lock; children must not inherit it (9>&-), or one that outlives us would
# keep it. GCARENA_VM_LOCKED says that a caller of ours has it already.
lock_machine()
{
	[ -z "${GCARENA_VM_LOCKED:-}" ] || return 0
	mkdir -p "$cache"
	exec 9>>"$cache/lock"
	if ! flock -n 9; then
		echo "$prog: waiting for another guest or kernel build to end" >&2
		flock 9
	fi
	export GCARENA_VM_LOCKED=1
}

# The directory of a kernel made ready by build-kernel; see there.
kernel_dir()
{
	"$vmdir/build-kernel" "$1" || exit 1
}
