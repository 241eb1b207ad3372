#!/bin/bash
# Runs inside fresh namespaces and becomes PID 1 of one lab host.
# usage: boot.sh DISK NAME KIND INIT [SOURCE:TARGET:OPTION ...]
#   KIND overlay: the root is the machine's / under DISK/upper; KIND bare: the root is DISK/upper alone.
#   OPTION rw, ro or shared (mount propagation, as kubelet wants it)
set -euo pipefail
disk=$1 name=$2 kind=$3 init=$4
shift 4
root=$disk/root
if [[ $kind == overlay ]]; then
    mount -t overlay "lab-$name" -o "lowerdir=/,upperdir=$disk/upper,workdir=$disk/work" "$root"
else
    mount --bind "$disk/upper" "$root"
fi
mkdir -p "$root"/{proc,sys,dev,run,tmp}
mount -t proc proc "$root/proc"
if [[ $init == */systemd ]]; then
    # The host's own part of each hierarchy of control groups, as if it were the whole.
    mount -t sysfs sysfs "$root/sys"
    mount -t tmpfs -o mode=755 tmpfs "$root/sys/fs/cgroup"
    while IFS=: read -r _ controllers _; do
        case $controllers in
        "") directory=unified options="" type=cgroup2 ;;
        name=*) directory=${controllers#name=} options="-o none,$controllers" type=cgroup ;;
        *) directory=$controllers options="-o $controllers" type=cgroup ;;
        esac
        mkdir -p "$root/sys/fs/cgroup/$directory"
        # shellcheck disable=SC2086
        mount -t "$type" $options "$type" "$root/sys/fs/cgroup/$directory" || rmdir "$root/sys/fs/cgroup/$directory"
    done </proc/self/cgroup
else
    mount --rbind /sys "$root/sys"
fi
mount --rbind /dev "$root/dev"
# The disks of all hosts came along; kubelet would take one that is hidden below for its own.
umount --recursive --lazy "$root/dev/shm"
mount -t tmpfs tmpfs "$root/dev/shm"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
for bind in "$@"; do
    IFS=: read -r source target option <<<"$bind"
    mkdir -p "$root$target"
    mount --bind "$source" "$root$target"
    [[ $option != ro ]] || mount -o remount,bind,ro "$root$target"
    [[ $option != shared ]] || mount --make-rshared "$root$target"
done
hostname "$name"
# One kernel runs all hosts; each boot of a host has a boot ID of its own all the same.
cat /proc/sys/kernel/random/uuid >"$root/run/boot_id"
mount --bind "$root/run/boot_id" "$root/proc/sys/kernel/random/boot_id"
mkdir -p "$root/run/sshd" "$root/run/lab" "$root/var/log/lab"
if [[ $init == */systemd ]]; then
    touch "$root/run/lab/booted"
    exec env -i container=lab PATH="$PATH" chroot "$root" "$init" --system
fi
mkfifo "$root/run/lab/init"
touch "$root/run/lab/booted"
# bash collects the orphans of the host, once a second at the latest; it never gets anything to read.
exec chroot "$root" "$init" -c 'exec 3<>/run/lab/init; trap "" TERM HUP INT; cd /; while :; do read -r -t 1 -u 3; done'
