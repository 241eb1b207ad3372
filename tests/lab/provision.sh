#!/usr/bin/env bash
# Puts on this Debian 12 machine what the lab needs: Debian's packages, packages of newer Debian suites unpacked beside them, and
# Kubernetes, containerd and tools built by Go at the versions that go/NAME/go.mod names. A warm run only looks (well under a second).
set -euo pipefail
export LC_ALL=C DEBIAN_FRONTEND=noninteractive

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${BREAKGLASS_LAB_CACHE:-$HOME/.cache/breakglass-lab}
packages=(openssh-server openssh-client containerd runc docker.io docker-registry skopeo containernetworking-plugins busybox-static
    conntrack iproute2 iptables sudo pigz strace openssl ca-certificates curl systemd dbus fish)
services=(containerd docker docker-registry ssh)
# SUITE PACKAGE NAME VERSION: what is unpacked below the cache under NAME, and the version that docs/testing.md names.
debs=("trixie containerd containerd-1.7 1.7." "sid containerd containerd-sid 2.1." "sid docker.io docker-sid 28."
    "sid docker-cli docker-cli-sid 28." "sid etcd-server etcd-sid 3.5." "sid promtool promtool-sid 3.5.")
# NAME MODULE: NAME/go.mod lists the programs; MODULE is the one whose version counts.
builds=("kubernetes k8s.io/kubernetes" "kubelet-1.34 k8s.io/kubernetes" "containerd github.com/containerd/containerd/v2"
    "crane github.com/google/go-containerregistry" "crictl sigs.k8s.io/cri-tools"
    "conformance github.com/opencontainers/distribution-spec/conformance")

main() {
    [[ $(id -u) == 0 ]] || die "the lab needs root"
    [[ $(. /etc/os-release && echo "$ID$VERSION_ID") == debian12 ]] || die "the lab runs on Debian 12 only"
    [[ $(stat --file-system --format %T /sys/fs/cgroup) == tmpfs ]] ||
        die "the lab needs control groups of version 1 (kernel parameter systemd.unified_cgroup_hierarchy=0)"
    umask 022
    mkdir -p "$cache"
    exec 9>"$cache/.lock"
    flock --nonblock 9 || { say "another provision.sh is running: waiting for it"; flock 9; }
    trap '[[ -z $child ]] || { kill -- "-$child"; wait; } 2>/dev/null; rm -rf "$cache"/.new.*' EXIT
    local row suite package name version module
    for row in "${builds[@]}"; do
        read -r name module <<<"$row"
        [[ -d $cache/$(directory "$name" "$module") ]] || need_go "$name"
    done
    step "packages" packages_missing install_packages
    for row in "${debs[@]}"; do
        read -r suite package name version <<<"$row"
        step "$package of $suite" "[[ ! -d $cache/$name ]]" "unpack_deb $suite $package $name"
        has_version "$name" "$version" || say "! the $package of $suite is not $version* any more, as docs/testing.md says"
    done
    for row in "${builds[@]}"; do
        read -r name module <<<"$row"
        step "$(directory "$name" "$module")" "[[ ! -d $cache/$(directory "$name" "$module") ]]" "build $name $module"
    done
    kernel_limits
    say "ready: $(versions | paste -sd, | sed 's/,/, /g')"
}

child="" # what runs in the background, in a process group of its own

say() { printf 'provision: %s\n' "$*"; }
die() { say "$*" >&2; exit 1; }

# One line for each program that the lab runs, as it names itself.
versions() {
    local path row name module
    for path in /usr "$cache/containerd-1.7/usr" "$cache/containerd-sid/usr"; do
        echo "containerd $("$path/bin/containerd" --version | awk '{print $3}')"
    done
    for path in /usr/sbin "$cache/docker-sid/usr/sbin"; do
        echo "docker $("$path/dockerd" --version | awk '{sub(",", "", $3); print $3}')"
    done
    for row in "${builds[@]}"; do
        read -r name module <<<"$row"
        echo "$name $(module_version "$name" "$module")"
    done
    echo "etcd $("$cache/etcd-sid/usr/bin/etcd" --version | awk '/^etcd Version/ {print $3}')"
    echo "promtool $("$cache/promtool-sid/usr/bin/promtool" --version | awk 'NR == 1 {print $3}')"
    echo "docker-registry $(docker-registry --version | awk '{print $NF}')"
    echo "systemd $(/lib/systemd/systemd --version | awk 'NR == 1 {print $2}')"
    echo "runc $(runc --version | awk 'NR == 1 {print $3}')"
    echo "OpenSSH $(/usr/sbin/sshd -V 2>&1 | sed -nE 's/^OpenSSH_([^ ,]+).*/\1/p')"
}

# has_version NAME VERSION: whether the .deb that was unpacked as NAME is of this version.
has_version() { compgen -G "$cache/debs/$1/*_$2*" >/dev/null; }

# step NAME NEEDED ACTION: one line when there is nothing to do, two with the time when there is.
step() {
    if ! eval "$2"; then say "$1: there"; return; fi
    local began=$SECONDS
    say "$1: getting it (log: $cache/provision.log)"
    # In the background, because "set -e" is void inside a condition; as a job, so that Ctrl-C ends it as well.
    set -m
    (eval "$3") >>"$cache/provision.log" 2>&1 9>&- &
    child=$!
    set +m
    if ! wait "$child"; then child=""; tail -n 20 "$cache/provision.log" >&2; die "$1: failed"; fi
    child=""
    say "$1: done in $((SECONDS - began)) s"
}

installed() { dpkg-query --show --showformat '${db:Status-Status} ${Package}\n' "${packages[@]}" 2>/dev/null | awk '$1 == "installed" {print $2}'; }
packages_missing() { [[ $(installed | sort -u | wc -l) != "${#packages[@]}" ]]; }

# No service may start on the machine itself: policy-rc.d says no while dpkg works, and is restored as it was.
install_packages() {
    local policy=/usr/sbin/policy-rc.d kept=""
    if [[ -e $policy ]]; then kept=$(mktemp) && cp -a "$policy" "$kept"; fi
    printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy"
    apt-get update && apt-get install -y --no-install-recommends -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confold "${packages[@]}" && local good=1
    if [[ -n $kept ]]; then mv "$kept" "$policy"; else rm -f "$policy"; fi
    if [[ -d /run/systemd/system ]]; then systemctl disable --now "${services[@]}" || true; fi
    [[ ${good:-} == 1 ]]
}

# Where this machine already gets bookworm from; the project itself names no archive.
archive() { apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' | awk '$2 == "bookworm" {print $1; exit}'; }

# suite NAME: sets $options for apt with lists of its own, so that the machine's own lists stay as they are.
suite() {
    local state=$cache/apt/$1
    mkdir -p "$state/lists/partial" "$state/archives/partial"
    printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n' "$(archive)" "$1" >"$state/sources.list"
    options=(-o "Dir::Etc::sourcelist=$state/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$state/lists"
        -o "Dir::Cache=$state" -o APT::Sandbox::User=root)
    [[ -n $(find "$state/lists" -name '*_Packages*' -mmin -60) ]] || apt-get "${options[@]}" update
}

# unpack_deb SUITE PACKAGE NAME: the .deb stays in $cache/debs (sid moves on), its tree becomes $cache/NAME.
unpack_deb() {
    local new=$cache/.new.$3 deb
    rm -rf "$new" && mkdir -p "$new" "$cache/debs/$3"
    deb=$(find "$cache/debs/$3" -name '*.deb' | sort | tail -n 1)
    if [[ -z $deb ]]; then
        suite "$1"
        (cd "$cache/debs/$3" && apt-get "${options[@]}" download "$2")
        deb=$(find "$cache/debs/$3" -name '*.deb' | sort | tail -n 1)
    fi
    dpkg -x "$deb" "$new"
    rm -rf "${cache:?}/$3" && mv "$new" "$cache/$3"
}

# module_version NAME MODULE: the version that NAME/go.mod requires, without its v.
module_version() { awk -v module="$2" '{ sub(/^require /, "") } $1 == module { sub(/^v/, "", $2); print $2; exit }' "$here/go/$1/go.mod"; }

# directory NAME MODULE: where the programs of NAME/go.mod go.
directory() { echo "$1-$(module_version "$1" "$2")"; }

# need_go NAME: ends with a sentence where this machine's Go is older than NAME/go.mod asks for.
need_go() {
    local needed found=""
    needed=$(awk '$1 == "go" {print $2; exit}' "$here/go/$1/go.mod")
    ! command -v go >/dev/null || found=$(GOTOOLCHAIN=local go env GOVERSION)
    printf 'go%s\n%s\n' "$needed" "$found" | sort --version-sort --check=quiet ||
        die "$1 is built with Go $needed or newer; there is ${found:-none} in PATH"
}

# build NAME MODULE: the tools of NAME/go.mod into the cache. Kubernetes and containerd take their own version from the linker.
build() {
    local new=$cache/.new.$1 version major minor package=k8s.io/component-base/version
    version=$(module_version "$1" "$2")
    IFS=. read -r major minor _ <<<"$version"
    rm -rf "$new" && mkdir -p "$new/usr/bin"
    (cd "$here/go/$1" && GOTOOLCHAIN=local GOFLAGS='' GOWORK=off CGO_ENABLED=0 go build -trimpath -buildvcs=false -mod=readonly \
        -ldflags "-s -w -X $package.gitVersion=v$version -X $package.gitMajor=$major -X $package.gitMinor=$minor -X github.com/containerd/containerd/v2/version.Version=$version" \
        -o "$new/usr/bin/" tool)
    local target
    target=$cache/$(directory "$1" "$2")
    rm -rf "$target" && mv "$new" "$target"
}

# A kubelet takes some fifteen inotify instances; with the kernel's usual 128 the ninth one does not start.
kernel_limits() {
    local limit=/proc/sys/fs/inotify/max_user_instances
    (($(<"$limit") >= 4096)) || echo 4096 >"$limit" || die "$limit cannot be raised to 4096"
}

main "$@"
