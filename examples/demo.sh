#!/bin/sh
# The whole runbook, from the first snapshot to the day after the outage. Run it in the sandbox:
#
#     make demo        (which is: breakglass sandbox -- sh examples/demo.sh)
#
# It ends with 0 only if every command ended with the exit code that it should and left the cluster as it should.
set -eu

say() { printf '\n== %s\n' "$*"; }

fail() {
    printf '\n== The demo FAILED: %s\n' "$*" >&2
    exit 1
}

# expect CODE COMMAND...: show the command, run it, and insist on its exit code.
expect() {
    wanted=$1
    shift
    printf '$ %s\n' "$*"
    code=0
    "$@" || code=$?
    [ "$code" -eq "$wanted" ] || fail "'$*' ended with $code, expected was $wanted"
}

# again COMMAND...: the command must find nothing to do.
again() {
    printf '$ %s\n' "$*"
    printed=$("$@") || fail "'$*' ended with $?, expected was 0"
    printf '%s\n' "$printed"
    case $printed in *"Nothing to do"*) ;; *) fail "'$*' found something to do a second time" ;; esac
}

# The cluster's API without kubectl, which not every machine has: `nodes` lists them, `cordon NODE` cordons one.
nodes() { api GET | python3 -c '
import json, sys
for node in json.load(sys.stdin)["items"]:
    pinned = node["metadata"].get("annotations", {}).get("breakglass/pinned")
    state = "cordoned" if node["spec"].get("unschedulable") else "schedulable"
    print("  %-12s %-12s %s" % (node["metadata"]["name"], state, "by breakglass, for " + json.loads(pinned)["target"] if pinned else ""))'; }
cordon() { api PATCH "/$1" '{"spec": {"unschedulable": true}}' >/dev/null; }
api() { python3 -c '
import json, os, sys, urllib.request
method, path, body = (sys.argv[1:] + ["", ""])[:3]
server = json.load(open(os.environ["KUBECONFIG"]))["clusters"][0]["cluster"]["server"]
request = urllib.request.Request(server + "/api/v1/nodes" + path, body.encode() or None, {"Content-Type": "application/merge-patch+json"}, method=method)
print(urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request).read().decode())' "$@"; }

[ -n "${BREAKGLASS_SANDBOX_CONTROL:-}" ] || fail "this is no sandbox, and nowhere else will I do this; run: make demo"

say "1. A normal day. Is the runbook needed? No, the registries serve the image: exit code 10."
expect 10 breakglass check

say "2. CI has pushed an image; its next step saves it on the registry VM. First a dry run ..."
expect 0 breakglass snapshot --tag 0a1b2c3d --dry-run
say "   ... then exactly these lines."
expect 0 breakglass snapshot --tag 0a1b2c3d
say "   The same again has nothing to do."
again breakglass snapshot --tag 0a1b2c3d

say "3. At night the mirror job copies the VM's directory to the NAS."
expect 0 sandbox mirror

say "4. Somebody cordons k8s-node3 for a reason of their own. It must stay cordoned."
cordon k8s-node3
before=$(nodes)
printf '%s\n' "$before"

say "5. The outage: both registries are gone. Is the runbook needed? Yes: exit code 0."
expect 0 sandbox stop forgejo registry-private
expect 0 breakglass check

say "6. The tarball from the VM to a node, verified there."
expect 0 breakglass fetch k8s-node1

say "7. Into the node's containerd, under every name that the pods use."
expect 0 breakglass import k8s-node1

say "8. Every other node is cordoned, so that the pipeline's pods land on k8s-node1. What somebody else cordoned is left alone."
expect 0 breakglass pin k8s-node1 --reason outage --yes
nodes

say "9. If you are not sure how far you got, type it again: a second run has nothing to do."
again breakglass fetch k8s-node1
again breakglass import k8s-node1
again breakglass pin k8s-node1 --reason outage --yes

say "10. The pipeline has run, the registries are back. Undo exactly what was changed: k8s-node3 stays cordoned."
expect 0 sandbox start forgejo registry-private
expect 0 breakglass restore --yes
after=$(nodes)
printf '%s\n' "$after"
[ "$before" = "$after" ] || fail "the nodes are not as they were before the outage"

say "11. A worse night: the registries are gone and the VM is unplugged. The tarball comes from the NAS, to another node."
expect 0 sandbox stop forgejo registry-private registry-vm
expect 0 breakglass check
expect 0 breakglass fetch k8s-node2
expect 0 breakglass import k8s-node2

say "12. Where do things stand, and what to type next? Half of the hosts are down; the page says which."
expect 0 breakglass status

say "13. All of it in one command, which undoes everything when COMMAND has ended. The exit code is COMMAND's."
expect 7 breakglass recover --yes -- sh -c 'echo "the pipeline runs here"; exit 7'
[ "$(nodes)" = "$before" ] || fail "the nodes are not as they were before the outage"

say "14. The next week. Does recovery work from every source, before anybody needs it?"
expect 0 sandbox start forgejo registry-private registry-vm
expect 0 breakglass drill k8s-node2

say "The demo is done; every command ended as it should:
   a verified tarball on the VM and a copy on the NAS; the image in containerd of k8s-node1 (from the VM) and of k8s-node2
   (from the NAS); each second run had nothing to do; after each restore every node was as it was before the outage.
   docker and containerd were simulated. docs/testing.md says what was tested with the real ones."
