# The repaired runbook, as runbook.md has it under "With ssh only", typed without a pause: the VM is down, so from the NAS. Only IfNotPresent starts.
set -eu
tag=$1
node=wizard@10.0.20.101
nas=/volume1/Backup/Viki/pve-backup/_forgejo-breakglass
private=registry.viktorbarzin.me:5050/infra-ci
forgejo=forgejo.viktorbarzin.me/viktor/infra-ci

ssh $node sudo mkdir -p -m 700 /var/breakglass
for file in infra-ci-$tag.tar.gz infra-ci-$tag.tar.gz.sha256; do
    ssh $node "sudo ssh 192.168.1.13 cat $nas/$file | sudo tee /var/breakglass/$file >/dev/null"
done
ssh $node "sudo sh -c 'cd /var/breakglass && sha256sum -c infra-ci-$tag.tar.gz.sha256'"
ssh $node "sudo gzip -dc /var/breakglass/infra-ci-$tag.tar.gz | sudo ctr -n k8s.io images import - && sudo ctr -n k8s.io images ls | grep infra-ci"
for name in $private:latest $forgejo:$tag $forgejo:latest; do
    ssh $node sudo ctr -n k8s.io images tag --force $private:$tag $name
done
kubectl --kubeconfig "$ADMIN" get nodes -o custom-columns=NAME:.metadata.name,CORDONED:.spec.unschedulable
for other in k8s-master k8s-node2 k8s-node10; do
    kubectl --kubeconfig "$ADMIN" cordon $other
done
kubectl --kubeconfig "$ADMIN" apply -f /root/repair.json
kubectl --kubeconfig "$ADMIN" wait --for=condition=complete job/repair --timeout=60s
for other in k8s-master k8s-node2 k8s-node10; do
    kubectl --kubeconfig "$ADMIN" uncordon $other
done
