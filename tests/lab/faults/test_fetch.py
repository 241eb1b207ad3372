"""The faults of fetch."""

from .arrangements import published
from .injections import unplugged
from .rows import row
from .trial import Trial


@row("fetch", "VM down", "falls back to the NAS", exit_code=0)
def test_with_the_vm_down_the_tarball_comes_from_the_nas(trial: Trial) -> None:
    published(trial.estate)
    trial.estate.mirror()
    trial.arranged()
    with unplugged(trial.estate.vm):
        assert trial.run("fetch", "k8s-node1").result["source"] == "synology"
    trial.recovers("k8s-node1")
