#!/bin/sh
# Lets an SSH key read the tarballs of one directory, and nothing else: a forced command (sshd(8), AUTHORIZED_KEYS FILE FORMAT).
# For a NAS, or for the key of the nodes' root on the registry VM. Needs a POSIX shell, cat, ls, wc, tail and readlink.
#
# Put it on the host as a file that only root may write, for example /etc/breakglass-read-only.sh, and one line into authorized_keys of the
# login that breakglass uses there; the two arguments are `directory` and `image.name` of the configuration:
#
#   command="/bin/sh /etc/breakglass-read-only.sh /volume1/Backup/_forgejo-breakglass infra-ci",restrict ssh-ed25519 AAAA... breakglass
#
# breakglass sends four kinds of lines to a source: `cat /dev/null` (does the login work), the script that lists the directory,
# `cat FILE` and `tail -c +N FILE`. This script compares each line and never runs it. To list the directory it runs its own copy
# of the listing script, below. A line may ask for a mark around the answer (`sh -c 'm=...' sh HALF HALF LINE`): what a login shell
# prints besides is outside of the marks.

export LC_ALL=C
unset CDPATH ENV IFS
directory=$1 name=$2 request=${SSH_ORIGINAL_COMMAND-}

refuse() {
  echo "this key may only read the tarballs of $directory" >&2
  exit 126
}

# The same text as SCRIPT of src/breakglass/observe/listing.py.
list() {
# --- listing
emit() {
  n=$(($(wc -c <"$3")))
  if [ "$n" -le 65536 ]; then printf '%s %s %s\n' "$1" "$2" "$n"; cat "$3"; echo; fi
}
own() { [ -f "$1" ] && [ ! -h "$1" ] && [ -r "$1" ]; }
cd "$1" 2>/dev/null || { echo absent; exit 0; }
echo present
for f in "$2"-*.tar.gz ."$2"-*.partial ."$2"-*.partial.sha256 ."$2"-*.new; do
  case $f in *[!A-Za-z0-9._-]*) continue;; esac
  if [ -h "$f" ]; then printf 'link %s %s\n' "$f" "$(readlink "$f")"; continue; fi
  [ -e "$f" ] || continue
  if [ ! -f "$f" ]; then printf 'other %s\n' "$f"; continue; fi
  printf 'file %s %s\n' "$f" "$(ls -ln "$f")"
  case $f in
  *.partial.sha256) s=$f ;;
  *.partial|*.new) continue ;;
  *) s=$f.sha256; j=${f%.tar.gz}.json
    if own "$j"; then emit json "$f" "$j"; fi
    if own "$j.sig"; then emit sig "$f" "$j.sig"; fi ;;
  esac
  if own "$s" && [ "$(($(wc -c <"$s")))" -le 4096 ]; then
    while read -r sum rest; do printf 'sum %s %s\n' "$f" "$sum"; done <"$s"
  fi
done
for j in "$2"-*.json "$2"-*.json.sig "$2"-*.tar.gz.sha256; do
  case $j in *[!A-Za-z0-9._-]*) continue;; esac
  f=${j%.sig}; f=${f%.json}; f=${f%.tar.gz.sha256}.tar.gz
  if [ -e "$f" ] || [ -h "$f" ]; then continue; fi
  if own "$j"; then emit orphan "$j" "$j"; fi
done
echo end
# --- end of the listing
}

# A path that was asked for: a tarball of this directory by its own name, no link.
tarball() {
  case $1 in
  "$directory/"*) file=${1#"$directory/"} ;;
  "'$directory/"*"'") file=${1#"'$directory/"} file=${file%"'"} ;;
  *) refuse ;;
  esac
  case $file in
  *[!A-Za-z0-9._-]*) refuse ;;
  "$name"-?*.tar.gz) ;;
  *) refuse ;;
  esac
  file=$directory/$file
  [ -f "$file" ] && [ ! -h "$file" ] || refuse
}

[ $# -eq 2 ] && [ -n "$name" ] || refuse
case $directory in /*) ;; *) refuse ;; esac

mark=
case $request in
"sh -c 'm="*"' sh "*)
  rest=${request#*"' sh "}
  mark=${rest%%" "*} rest=${rest#*" "}
  mark=$mark${rest%%" "*} request=${rest#*" "}
  case $mark in *[!0-9a-f]*) refuse ;; esac
  trap 's=$?; echo "$mark"; exit "$s"' 0
  echo "$mark"
  ;;
esac

case $request in
"cat /dev/null")
  exit 0
  ;;
"sh -c '"*"' shelf $directory $name" | "sh -c '"*"' shelf '$directory' $name")
  list "$directory" "$name"
  ;;
"cat "*)
  tarball "${request#cat }"
  cat "$file"
  ;;
"tail -c +"*)
  rest=${request#"tail -c +"}
  from=${rest%%" "*}
  case $from in '' | *[!0-9]* | ??????????????????*) refuse ;; esac
  tarball "${rest#"$from "}"
  tail -c "+$from" "$file"
  ;;
*)
  refuse
  ;;
esac
