"""The gates of the benchmarks that are cheap, and stable on a machine that does other things as
well; `make bench` has them all.
"""

import pytest
from benchmarks import measure
from benchmarks.lab_runs import breakglass
from benchmarks.table import Row, text

from .environment import Environment
from .roles import VM_DIRECTORY


def assert_passes(row: Row) -> None:
    assert row.passes, "\n" + text([row])


def test_help_takes_little_longer_than_the_import_of_its_command_line_library() -> None:
    (row,) = measure.start_up(7)
    assert_passes(row)


@pytest.mark.thorough
def test_a_tarball_of_real_size_goes_through_the_operators_machine_without_staying_in_its_memory(
    fresh: Environment,
) -> None:
    fresh.big()
    saved = breakglass(fresh, "snapshot", "--tag", measure.TAG)
    fetched = breakglass(fresh, "fetch", measure.NODE, "--via", "operator")
    size = fresh.vm.path(f"{VM_DIRECTORY}/infra-ci-{measure.TAG}.tar.gz").stat().st_size
    assert size > 175e6, "an image that fits under the gate would prove nothing"
    for command, run in (("snapshot", saved), ("fetch --via operator", fetched)):
        assert_passes(measure.memory(command, [run.peak_bytes], size))


@pytest.mark.thorough
def test_two_hundred_nodes_are_patched_many_times_as_fast_as_by_a_loop_of_kubectl_cordon(
    fresh: Environment,
) -> None:
    # Of so few nodes most of the whole command is its start; `make bench` takes a thousand.
    _, patches = measure.pinning(fresh, 1, nodes=200, looped=15)
    assert_passes(patches)
