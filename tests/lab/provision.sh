#!/usr/bin/env bash
# Puts on this Debian 12 machine what the lab needs: packages, Kubernetes 1.20.2 built from Debian's source package,
# and containerd 1.7 and 2.x unpacked beside the installed 1.6. Idempotent; a warm run only looks (well under a second).
set -euo pipefail
export LC_ALL=C DEBIAN_FRONTEND=noninteractive

cache=${BREAKGLASS_LAB_CACHE:-$HOME/.cache/breakglass-lab}
kubernetes_version=1.20.2
kubernetes_parts=(kube-apiserver kube-scheduler kube-controller-manager kubelet)
packages=(openssh-server openssh-client containerd runc docker.io docker-registry skopeo etcd-server containernetworking-plugins
    busybox-static conntrack iproute2 iptables sudo pigz strace openssl ca-certificates curl rsync jq make dpkg-dev golang-go)
services=(containerd docker docker-registry etcd ssh)

main() {
    [[ $(id -u) == 0 ]] || die "the lab needs root"
    [[ $(. /etc/os-release && echo "$ID$VERSION_ID") == debian12 ]] || die "the lab is measured on Debian 12 only"
    umask 022
    mkdir -p "$cache"
    exec 9>"$cache/.lock"
    flock --nonblock 9 || { say "another provision.sh is at work: waiting for it"; flock 9; }
    trap 'rm -rf "$cache"/.new.*' EXIT
    step "packages" packages_missing install_packages
    step "containerd 1.7 (trixie)" "[[ ! -x $cache/containerd-1.7/usr/bin/containerd ]]" "unpack_deb trixie containerd containerd-1.7"
    step "containerd 2 (sid)" "[[ ! -x $cache/containerd-2/usr/bin/containerd ]]" "unpack_deb sid containerd containerd-2"
    step "kubectl (bookworm)" "[[ ! -x $cache/kubernetes-client/usr/bin/kubectl ]]" "unpack_deb bookworm kubernetes-client kubernetes-client"
    step "kubernetes $kubernetes_version" kubernetes_missing build_kubernetes
    say "ready: containerd $(version /usr), $(version "$cache/containerd-1.7/usr"), $(version "$cache/containerd-2/usr"); kubernetes $kubernetes_version; cache $cache"
}

say() { printf 'provision: %s\n' "$*"; }
die() { say "$*" >&2; exit 1; }
version() { "$1/bin/containerd" --version | awk '{print $3}'; }

# step NAME NEEDED ACTION: one line when there is nothing to do, two with the time when there is.
step() {
    if ! eval "$2"; then say "$1: there"; return; fi
    local began=$SECONDS
    say "$1: getting it (log: $cache/provision.log)"
    (eval "$3") >>"$cache/provision.log" 2>&1 9>&- & # in the background, for "set -e" is void inside a condition
    if ! wait $!; then tail -n 20 "$cache/provision.log" >&2; die "$1: failed"; fi
    say "$1: done in $((SECONDS - began)) s"
}

installed() { dpkg-query --show --showformat '${db:Status-Status} ${Package}\n' "${packages[@]}" 2>/dev/null | awk '$1 == "installed" {print $2}'; }
packages_missing() { [[ $(installed | sort -u | wc -l) != "${#packages[@]}" ]]; }

# No service may start on the machine itself: policy-rc.d says no while dpkg works, and is put back as it was.
install_packages() {
    local policy=/usr/sbin/policy-rc.d kept=""
    if [[ -e $policy ]]; then kept=$(mktemp) && cp -a "$policy" "$kept"; fi
    printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy"
    apt-get update && apt-get install -y --no-install-recommends -o Dpkg::Options::=--force-confold "${packages[@]}" && local good=1
    if [[ -n $kept ]]; then mv "$kept" "$policy"; else rm -f "$policy"; fi
    if [[ -d /run/systemd/system ]]; then systemctl disable --now "${services[@]}" || true; fi
    [[ ${good:-} == 1 ]]
}

# Where this machine already gets bookworm from; the project itself names no archive.
archive() { apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' | awk '$2 == "bookworm" {print $1; exit}'; }

# suite NAME KIND: sets $options for apt with lists of its own, so that the machine's own lists stay as they are.
suite() {
    local state=$cache/apt/$1-$2
    mkdir -p "$state/lists/partial" "$state/archives/partial"
    printf '%s [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n' "$2" "$(archive)" "$1" >"$state/sources.list"
    options=(-o "Dir::Etc::sourcelist=$state/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$state/lists"
        -o "Dir::Cache=$state" -o APT::Sandbox::User=root)
    apt-get "${options[@]}" update
}

# unpack_deb SUITE PACKAGE NAME: the .deb is kept in $cache/debs (sid moves on), its tree becomes $cache/NAME.
unpack_deb() {
    local new=$cache/.new.$3 deb
    rm -rf "$new" && mkdir -p "$new" "$cache/debs/$3"
    deb=$(find "$cache/debs/$3" -name '*.deb' | sort | tail -n 1)
    if [[ -z $deb ]]; then
        suite "$1" deb
        (cd "$cache/debs/$3" && apt-get "${options[@]}" download "$2")
        deb=$(find "$cache/debs/$3" -name '*.deb' | sort | tail -n 1)
    fi
    dpkg -x "$deb" "$new"
    rm -rf "${cache:?}/$3" && mv "$new" "$cache/$3"
}

kubernetes_missing() {
    local part
    for part in "${kubernetes_parts[@]}"; do [[ -x $cache/$kubernetes_version/$part ]] || return 0; done
    return 1
}

# Debian's source package is whole, vendored modules included: nothing is downloaded by Go.
build_kubernetes() {
    local new=$cache/.new.kubernetes
    rm -rf "$new" && mkdir -p "$new/gopath/src/k8s.io" "$new/bin"
    suite bookworm deb-src
    (cd "$new" && apt-get "${options[@]}" source kubernetes)
    local tree
    tree=$(find "$new" -mindepth 1 -maxdepth 1 -type d -name 'kubernetes-*')
    ln -s "$tree" "$new/gopath/src/k8s.io/kubernetes"
    (cd "$new/gopath/src/k8s.io/kubernetes" &&
        GOPATH=$new/gopath GOCACHE=$new/gocache GO111MODULE=off PATH=/usr/lib/go-1.19/bin:$PATH \
            make WHAT="${kubernetes_parts[*]/#/cmd/}" GOLDFLAGS="-s -w")
    find "$tree/_output" -type f -perm -100 \( -name 'kube-*' -o -name kubelet \) -exec cp {} "$new/bin/" \;
    rm -rf "${cache:?}/$kubernetes_version" && mv "$new/bin" "$cache/$kubernetes_version"
    rm -rf "$new"
}

main "$@"
