"""The examples for a timer and for CI are ones that systemd and Woodpecker can read, and that the CLI understands."""

import shlex
from configparser import ConfigParser
from pathlib import Path

import pytest
import yaml

from tests.front.test_documents import ROOT, check_command_line

SYSTEMD, WOODPECKER = ROOT / "examples/systemd", ROOT / "examples/woodpecker"


def unit(name: str) -> ConfigParser:
    """A unit file; in these no key stands twice in a section, which the parser insists on."""
    parser = ConfigParser(interpolation=None, comment_prefixes=("#", ";"))
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # systemd's keys are case-sensitive
    parser.read_string((SYSTEMD / name).read_text("utf-8"))
    return parser


def test_every_timer_starts_a_service_that_is_there_and_makes_up_for_a_missed_day() -> None:
    timers = sorted(SYSTEMD.glob("*.timer"))
    assert timers
    for path in timers:
        timer = unit(path.name)
        assert (SYSTEMD / f"{path.stem}.service").exists()
        assert timer["Timer"]["Persistent"] == "true"
        assert timer["Timer"]["OnCalendar"]
        assert timer["Install"]["WantedBy"] == "timers.target"


@pytest.mark.parametrize("path", sorted(SYSTEMD.glob("*.service")), ids=lambda path: path.name)
def test_the_command_line_of_every_service_is_one_that_the_cli_understands(path: Path) -> None:
    service = unit(path.name)["Service"]
    assert service["Type"] == "oneshot"
    program = shlex.split(service["ExecStart"])[0]
    assert Path(program).is_absolute()
    assert Path(program).name == "breakglass"
    check_command_line(service["ExecStart"])


def test_the_command_lines_of_the_pipelines_are_ones_that_the_cli_understands_and_secrets_come_from_secrets() -> None:
    pipelines = sorted(WOODPECKER.glob("*.yml"))
    assert pipelines
    for path in pipelines:
        for step in yaml.safe_load(path.read_text("utf-8"))["steps"]:
            assert all(set(value) == {"from_secret"} for value in step["environment"].values())
            assert step["commands"]
            for line in step["commands"]:
                assert line.startswith("breakglass ")
                check_command_line(line)
