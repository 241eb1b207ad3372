"""A node that serves the image locally, and restore, which undoes it: facts to exact lines, and
those lines run over real files.
"""

import hashlib
import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from breakglass.cli.outcome import to_json
from breakglass.commands import restore, restore_facts, restore_leftovers
from breakglass.commands.answering import Part, set_up, take_back
from breakglass.commands.answering_facts import Answers
from breakglass.commands.config_path import check_config_path
from breakglass.commands.environment import Environment, Unread
from breakglass.commands.hosts_toml import compose
from breakglass.commands.node_record import begin
from breakglass.config import Config, Kubernetes, Nodes, Registry, Ssh, Status
from breakglass.errors import BreakglassError, Failed, Refused, Unreachable
from breakglass.observe.answering import (
    MARK,
    Answering,
    Responder,
    Site,
    Taken,
    TakenFile,
    _site,
    _taken,
)
from breakglass.observe.cluster import Node, Pin
from breakglass.observe.containerd import Ctr
from breakglass.observe.pulls import Pull
from breakglass.plan import Argv, Host, Plan, Run
from breakglass.ports import Result
from breakglass.quoting import quote
from breakglass.registry import Found
from breakglass.remote.distribution.answers import State
from breakglass.ssh.wire import wire
from tests.facts import IDENTITY, IMAGE, NODE, NODES, REPOSITORY, SETTINGS, lines, node

DIRECTORY, CERTS = "/var/breakglass", "/etc/containerd/certs.d"
CTR = Ctr(("ctr",), "k8s.io")
PRIVATE, FORGEJO = "registry.example:5050", "forgejo.example"
FILE, OTHER_FILE = f"{CERTS}/{PRIVATE}/hosts.toml", f"{CERTS}/{FORGEJO}/hosts.toml"
DIGEST = "sha256:" + "9" * 64
KEEP, BEFORE = (
    "breakglass.local/keep/aaaaaaaaaaaaaaaa:kept",
    "breakglass.local/before/0123456789abcdef:kept",
)
NAME, OTHER = f"{REPOSITORY}:latest", f"{FORGEJO}/viktor/infra-ci:latest"
KEPT = {NAME: KEEP, OTHER: KEEP}
TARGETS = {KEEP: DIGEST}
RUNS = Responder(4000, {NAME: DIGEST, OTHER: DIGEST}, 4000)
DEAD = Responder(None, {}, 4000)
MIRROR = '[host."https://mirror.example"]\n'
BROKEN = Pull(
    PRIVATE,
    NAME,
    State.BROKEN,
    "the index names sha256:dead, which is gone",
    missing=("sha256:dead",),
)
SERVED = (Pull(PRIVATE, NAME, State.SERVES, ""), Pull(FORGEJO, OTHER, State.SERVES, ""))
EDITED = "# by hand\n"


def answering(*sites: Site, responder: Responder = RUNS, **more: Any) -> Answering:
    return replace(
        Answering(sites, responder, "/content", CERTS, "/etc/containerd/config.toml"), **more
    )


def recorded(*files: TakenFile, **more: Any) -> Taken:
    """What a record says of a node on which the responder's script lies."""
    return replace(Taken(True, True, files, True, "k8s.io"), **more)


def planned(
    known: Answering,
    taken: Taken | None = None,
    *,
    pulls: tuple[Pull, ...] = SERVED,
    host: Host = NODE,
) -> Part:
    return set_up(
        host,
        DIRECTORY,
        CERTS,
        CTR,
        Answers(taken or recorded(), known, pulls),
        kept=KEPT,
        targets=TARGETS,
    )


def commands(part: Part) -> list[str]:
    """The steps without the words that every line begins with, and without what is behind `--`."""
    return [
        shlex.join(step.pipeline[0][2:]).partition(" -- ")[0]
        for step in part.steps
        if isinstance(step, Run)
    ]


def written(
    registry: str,
    original: str | None,
    *,
    address: str = "http://127.0.0.1:4000",
    first: bool = False,
    **more: Any,
) -> tuple[Site, TakenFile]:
    """A registry whose file is ours, and what the record says of it."""
    site = Site(registry, f"{CERTS}/{registry}/hosts.toml", text=original, **more)
    text = compose(site, original, address=address, first=first).text
    return replace(site, text=text), TakenFile(site.file, original, text, text)


def in_place(**more: Any) -> tuple[Answering, Taken]:
    """Both registries' files are ours, and the responder answers."""
    (private, first), (forgejo, second) = written(PRIVATE, MIRROR), written(FORGEJO, None)
    return answering(private, forgejo, **more), recorded(first, second)


START = (
    f"responder start {DIRECTORY} --port 4000 --content /content --answer {NAME}={KEEP} "
    f"--answer {OTHER}={KEEP}"
)


# set_up


def test_a_fresh_node_starts_the_responder_and_then_lists_it_in_every_file() -> None:
    part = planned(
        answering(Site(PRIVATE, FILE, text=MIRROR), Site(FORGEJO, OTHER_FILE), responder=DEAD),
        recorded(has_responder=False),
    )
    mirror = hashlib.sha256(MIRROR.encode()).hexdigest()
    first, *others = commands(part)
    assert first == START
    assert sorted(others) == sorted(
        [
            f"taken insert {DIRECTORY} {FILE} --onto {mirror} --before end",
            f"taken insert {DIRECTORY} {OTHER_FILE} --onto absent --before end",
        ]
    )
    assert str(part.steps[0]).endswith(" -- ctr -n k8s.io")
    assert all(" sudo -n python3 breakglass-remote.pyz " in str(step) for step in part.steps)
    assert (part.notes, part.warnings) == ((), ())


def test_the_files_are_written_in_the_order_in_which_the_configuration_names_the_registries() -> (
    None
):
    part = planned(
        answering(Site(PRIVATE, FILE), Site(FORGEJO, OTHER_FILE), responder=DEAD),
        recorded(has_responder=False),
    )
    assert [line.split()[3] for line in commands(part)[1:]] == [FILE, OTHER_FILE]


def test_the_lines_that_are_inserted_are_shown_and_travel_on_standard_input() -> None:
    site = Site(PRIVATE, FILE, text=MIRROR)
    step = planned(answering(site)).steps[0]
    assert isinstance(step, Run)
    assert step.lines == compose(site, MIRROR, address="http://127.0.0.1:4000", first=False).lines
    sent = wire(step.pipeline, sudo=True, lines=step.lines)
    assert sent.opening.endswith("".join(f"{line}\n" for line in step.lines).encode())
    for line in filter(None, step.lines):
        assert quote(line) in str(step)
        assert line not in sent.line


def test_where_everything_is_in_place_there_is_nothing_to_do() -> None:
    assert planned(*in_place()) == Part()


def test_after_a_reboot_only_the_responder_is_started_again() -> None:
    assert commands(planned(*in_place(responder=DEAD))) == [START]


@pytest.mark.parametrize(
    "responder",
    [
        Responder(4000, {NAME: DIGEST}, 4000),
        Responder(4000, {NAME: DIGEST, OTHER: "sha256:" + "8" * 64}, 4000),
        Responder(4000, {}, 4000),
        Responder(4000, {NAME: DIGEST, OTHER: DIGEST, f"{REPOSITORY}:old": DIGEST}, 4000),
    ],
)
def test_a_responder_that_answers_otherwise_than_it_should_is_started_anew_on_its_own_port(
    responder: Responder,
) -> None:
    assert commands(planned(*in_place(responder=responder))) == [START]


def test_a_responder_whose_script_is_gone_is_started_anew() -> None:
    known, taken = in_place()
    assert commands(planned(known, replace(taken, has_responder=False))) == [START]


def test_a_responder_for_a_name_that_nothing_keeps_yet_is_started() -> None:
    known, taken = in_place()
    assert commands(
        set_up(NODE, DIRECTORY, CERTS, CTR, Answers(taken, known, SERVED), kept=KEPT, targets={})
    ) == [START]


def test_another_port_is_written_into_every_file_once_the_old_lines_are_out() -> None:
    known, taken = in_place(responder=Responder(None, {}, 4001))
    mirror = hashlib.sha256(MIRROR.encode()).hexdigest()
    made = commands(planned(known, taken))
    assert made[0] == START.replace("--port 4000", "--port 4001")
    assert len(made) == 5
    assert made.index(f"taken put_back {DIRECTORY} {FILE}") + 1 == made.index(
        f"taken insert {DIRECTORY} {FILE} --onto {mirror} --before end"
    )
    assert made.index(f"taken put_back {DIRECTORY} {OTHER_FILE}") + 1 == made.index(
        f"taken insert {DIRECTORY} {OTHER_FILE} --onto absent --before end"
    )


def test_where_a_registry_does_not_serve_the_node_comes_first_and_the_reason_is_reported() -> None:
    part = planned(
        answering(Site(PRIVATE, FILE, text=MIRROR), Site(FORGEJO, OTHER_FILE)),
        pulls=(BROKEN, SERVED[1]),
    )
    onto = {line.split()[3]: line.split()[-1] for line in commands(part)}
    assert onto == {FILE: "1", OTHER_FILE: "end"}
    assert part.notes == (
        f"{PRIVATE} does not serve the image to k8s-node1 (broken: the index names sha256:dead, "
        f"which is gone): k8s-node1 asks itself first, and does so until breakglass restore",
    )


def test_the_order_in_a_file_changes_when_the_registry_breaks_and_when_it_is_mended() -> None:
    known, taken = in_place()
    mirror = hashlib.sha256(MIRROR.encode()).hexdigest()
    broken = (BROKEN, SERVED[1])
    assert commands(planned(known, taken, pulls=broken)) == [
        f"taken put_back {DIRECTORY} {FILE}",
        f"taken insert {DIRECTORY} {FILE} --onto {mirror} --before 1",
    ]
    private, entry = written(PRIVATE, MIRROR, first=True)
    known, taken = answering(private, known.sites[1]), recorded(entry, taken.files[1])
    assert commands(planned(known, taken, pulls=broken)) == []
    assert commands(planned(known, taken)) == [
        f"taken put_back {DIRECTORY} {FILE}",
        f"taken insert {DIRECTORY} {FILE} --onto {mirror} --before end",
    ]


@pytest.mark.parametrize(
    ("states", "why_first"),
    [
        # Served whole: the registry stays before the node.
        ([("a", "serves")], ""),
        ([("a", "serves"), ("b", "serves")], ""),
        # A mirror that answers at once that it lacks the tag costs nothing.
        ([("a", "lacks the tag"), ("a", "serves")], ""),
        # One of two tags is not there: the node has it, and comes after the registry.
        ([("a", "serves"), ("b", "lacks the tag")], ""),
        # What comes before the one that serves is waited for.
        ([("a", "serves"), ("a", "unreachable")], ""),
        ([("a", "unreachable"), ("a", "serves")], "unreachable"),
        ([("a", "broken"), ("a", "serves")], "broken"),
        ([("a", "refuses"), ("a", "serves")], "refuses"),
        # Every name counts.
        ([("a", "serves"), ("b", "unreachable")], "unreachable"),
        # Nothing is served.
        ([("a", "unreachable")], "unreachable"),
        ([("a", "refuses")], "refuses"),
        ([("a", "lacks the tag")], "lacks the tag"),
        ([], "it could not be asked"),
    ],
)
def test_the_node_comes_first_unless_the_registry_has_just_served_the_image(
    states: list[tuple[str, str]], why_first: str
) -> None:
    """(name, state) in containerd's order: the mirrors, then the registry."""
    answers = Answers(
        recorded(), None, tuple(Pull(PRIVATE, name, State(state), "") for name, state in states)
    )
    assert answers.why_first(PRIVATE) == why_first
    assert answers.why_first(FORGEJO) == "it could not be asked"


@pytest.mark.parametrize(
    ("now", "ours", "edited"),
    [
        ("written", True, False),
        ("original", False, False),
        ("written\n# by hand", False, True),
        ("theirs", False, True),
        ("", False, True),
        (None, False, True),
    ],
)
def test_edited_is_what_is_neither_as_we_wrote_it_nor_as_it_was(
    now: str | None, ours: bool, edited: bool
) -> None:
    file = TakenFile(FILE, "original", "written", now)
    assert (file.is_ours, file.is_edited) == (ours, edited)
    assert not TakenFile(FILE, None, "written", None).is_edited


def test_an_edited_file_that_still_lists_the_node_is_left_with_a_warning() -> None:
    known, taken = in_place()
    text = (known.sites[0].text or "") + EDITED
    part = planned(
        replace(known, sites=(replace(known.sites[0], text=text), known.sites[1])),
        replace(taken, files=(replace(taken.files[0], now=text), taken.files[1])),
    )
    assert part.steps == ()
    assert f"k8s-node1:{FILE} was edited after breakglass wrote it" in part.warnings[0]


@pytest.mark.parametrize("is_recorded", [True, False])
def test_an_edited_file_that_no_longer_lists_the_node_is_refused_with_the_line_to_type(
    is_recorded: bool,
) -> None:
    text = f"{MARK}\n# the rest was taken out\n"
    taken = (
        recorded(TakenFile(FILE, None, "ours", text)) if is_recorded else recorded(strays=(FILE,))
    )
    with pytest.raises(Refused, match=r", and does not list http://127\.0\.0\.1:4000$") as caught:
        planned(answering(Site(PRIVATE, FILE, text=text)), taken)
    why = (
        "was edited after breakglass wrote it"
        if is_recorded
        else f"holds lines of breakglass that no record in {DIRECTORY} knows"
    )
    assert f"k8s-node1:{FILE} {why}" in caught.value.message
    assert "ssh wizard@10.0.20.101 sudo" in str(caught.value.next_step)
    assert FILE in str(caught.value.next_step)


@pytest.mark.parametrize("is_recorded", [True, False])
def test_before_a_registry_that_does_not_serve_such_a_file_must_list_the_node_first(
    is_recorded: bool,
) -> None:
    site, entry = written(PRIVATE, MIRROR)
    text = (site.text or "") + EDITED
    behind = answering(replace(site, text=text))
    taken = recorded(replace(entry, now=text)) if is_recorded else recorded()
    assert planned(behind, taken).steps == ()
    with pytest.raises(
        Refused,
        match=(
            r"does not list http://127\.0\.0\.1:4000 first, though the registry does not serve "
            r"the image"
        ),
    ) as caught:
        planned(behind, taken, pulls=(BROKEN,))
    assert FILE in str(caught.value.next_step)
    site, entry = written(PRIVATE, MIRROR, first=True)
    text = (site.text or "") + EDITED
    part = planned(
        answering(replace(site, text=text)),
        recorded(replace(entry, now=text)) if is_recorded else recorded(),
        pulls=(BROKEN,),
    )
    assert (part.steps, len(part.warnings)) == ((), 1)


def test_a_file_of_ours_of_which_the_record_knows_nothing_is_left_where_it_lists_the_node() -> None:
    site, _ = written(PRIVATE, MIRROR)
    part = planned(answering(site))
    assert part.steps == ()
    assert part.warnings == (
        (
            f"k8s-node1:{FILE} holds lines of breakglass that no record in {DIRECTORY} knows; it "
            f"lists the node, and is left as it is"
        ),
    )


def changed(now: str | None) -> tuple[Answering, Taken]:
    """As in_place(), but for the first file, which somebody has changed."""
    known, taken = in_place()
    return replace(known, sites=(replace(known.sites[0], text=now), known.sites[1])), replace(
        taken, files=(replace(taken.files[0], now=now), taken.files[1])
    )


def test_a_foreign_file_in_the_place_of_ours_is_the_new_original_and_is_reported() -> None:
    theirs = 'server = "https://theirs.example"\n'
    part = planned(*changed(theirs))
    assert commands(part) == [
        (
            f"taken insert {DIRECTORY} {FILE} --onto "
            f"{hashlib.sha256(theirs.encode()).hexdigest()} --before end"
        )
    ]
    assert part.warnings == (
        (
            f"k8s-node1:{FILE} was replaced after breakglass wrote it: what is there now is what "
            f"restore will undo"
        ),
    )


def test_a_file_that_somebody_removed_is_put_back_before_our_lines_go_into_it() -> None:
    part = planned(*changed(None))
    mirror = hashlib.sha256(MIRROR.encode()).hexdigest()
    assert commands(part) == [
        f"taken put_back {DIRECTORY} {FILE} --although-gone",
        f"taken insert {DIRECTORY} {FILE} --onto {mirror} --before end",
    ]
    assert part.warnings == (
        (
            f"k8s-node1:{FILE} was deleted after breakglass wrote it: what was there before "
            f"comes back first"
        ),
    )


def test_a_file_that_somebody_has_put_back_by_hand_gets_our_lines_again_without_a_warning() -> None:
    part = planned(*changed(MIRROR))
    assert [line.split()[1] for line in commands(part)] == ["insert"]
    assert part.warnings == ()


def test_a_file_that_was_new_and_that_somebody_removed_is_new_again() -> None:
    known, taken = in_place()
    part = planned(
        replace(known, sites=(known.sites[0], replace(known.sites[1], text=None))),
        replace(taken, files=(taken.files[0], replace(taken.files[1], now=None))),
    )
    assert commands(part) == [f"taken insert {DIRECTORY} {OTHER_FILE} --onto absent --before end"]
    assert part.warnings == ()


@pytest.mark.parametrize("broken", [False, True])
def test_a_file_that_is_a_copy_of_that_in_default_is_made_on_the_node(broken: bool) -> None:
    default = f"{CERTS}/_default/hosts.toml"
    part = planned(
        answering(Site(PRIVATE, FILE, default=MIRROR, default_file=default)),
        pulls=(BROKEN,) if broken else SERVED,
    )
    mirror = hashlib.sha256(MIRROR.encode()).hexdigest()
    assert commands(part) == [
        (
            f"taken insert {DIRECTORY} {FILE} --onto {mirror} --copy {default} --before "
            f"{'1' if broken else 'end'}"
        )
    ]
    assert "mirror.example" not in str(part.steps[0])


def test_a_file_of_the_record_that_no_name_concerns_any_more_is_put_back() -> None:
    known, taken = in_place()
    assert commands(planned(replace(known, sites=known.sites[:1]), taken)) == [
        f"taken put_back {DIRECTORY} {OTHER_FILE}"
    ]


def test_a_file_that_no_name_concerns_any_more_and_that_was_edited_is_left_and_reported() -> None:
    known, taken = in_place()
    text = (taken.files[1].now or "") + EDITED
    part = planned(
        replace(known, sites=known.sites[:1]),
        replace(taken, files=(taken.files[0], replace(taken.files[1], now=text))),
    )
    assert part.steps == ()
    assert any(OTHER_FILE in warning for warning in part.warnings), (
        "nobody else tells that it stays"
    )


def test_two_registries_that_share_a_file_get_one_insertion() -> None:
    server = 'server = "https://upstream.example"\n'
    shared = f"{CERTS}/shared/hosts.toml"
    part = planned(
        answering(Site(PRIVATE, shared, True, server), Site(FORGEJO, shared, True, server))
    )
    assert [line.split()[:4] for line in commands(part)] == [["taken", "insert", DIRECTORY, shared]]


@pytest.mark.parametrize("broken", [PRIVATE, FORGEJO])
def test_a_file_that_registries_share_lists_the_node_first_when_any_of_them_does_not_serve(
    broken: str,
) -> None:
    server = f'server = "https://upstream.example"\n{MIRROR}'
    shared = f"{CERTS}/shared/hosts.toml"
    part = planned(
        answering(Site(PRIVATE, shared, True, server), Site(FORGEJO, shared, True, server)),
        pulls=(
            replace(BROKEN, registry=broken),
            *(pull for pull in SERVED if pull.registry != broken),
        ),
    )
    assert [line.split()[-1] for line in commands(part)] == ["2"]
    assert len(part.notes) == 1


@pytest.mark.parametrize("linked", [PRIVATE, FORGEJO])
def test_a_file_that_one_registry_has_and_another_reaches_over_a_link_has_to_name_its_server(
    linked: str,
) -> None:
    sites = tuple(
        Site(registry, FILE, registry == linked, MIRROR) for registry in (PRIVATE, FORGEJO)
    )
    with pytest.raises(Refused, match="names no server"):
        planned(answering(*sites))


def test_a_file_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(Refused, match="is not UTF-8") as caught:
        planned(answering(Site(PRIVATE, FILE, fault=f"{FILE} is not UTF-8")))
    assert "--no-answer-pulls" in str(caught.value.next_step)


# config_path


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (
            {"config_path": ""},
            (
                "config_path is not set in /etc/containerd/config.toml, and to set it containerd "
                "has to be restarted, which breakglass never does"
            ),
        ),
        (
            {"config_path": f"{CERTS}:/etc/docker/certs.d", "reads_lists": False},
            "takes it for the name of one directory",
        ),
        (
            {"config_path": f"/etc/docker/certs.d:{CERTS}"},
            "below /etc/docker/certs.d, nodes.registry_config says /etc/containerd/certs.d",
        ),
        (
            {"config_path": "/opt/certs.d"},
            "below /opt/certs.d, nodes.registry_config says /etc/containerd/certs.d",
        ),
        ({"config_path": None, "config_fault": "no such plugin"}, "no such plugin"),
        ({"config_path": None}, "no containerd command, and no /etc/containerd/config.toml"),
        ({"content": None}, "content store"),
        (
            {"responder": Responder(None, {}, 4000, foreign_unit="/etc/x.service")},
            "/etc/x.service is a unit of that name which breakglass did not write",
        ),
    ],
)
def test_where_containerd_would_not_ask_the_refusal_says_what_starts_and_what_does_not(
    facts: dict[str, Any], words: str
) -> None:
    with pytest.raises(Refused) as caught:
        planned(answering(Site(PRIVATE, FILE), **facts))
    error = caught.value
    assert error.exit_code == 3
    assert error.message.startswith("pods with Always would not start: ")
    assert words in error.message
    assert error.state == (
        "Nothing was changed. With --no-answer-pulls the image comes in, and pods with "
        "IfNotPresent start; pods with Always (the default of :latest) do not."
    )
    assert str(error.next_step) == "breakglass import k8s-node1 --no-answer-pulls"


def test_a_slash_at_the_end_of_config_path_makes_no_difference() -> None:
    assert check_config_path(NODE, CERTS, answering(config_path=f"{CERTS}/")) == []
    assert check_config_path(NODE, f"{CERTS}/", answering()) == []


def test_of_a_list_the_first_directory_is_the_one_that_containerd_reads_before_the_others() -> None:
    assert (
        check_config_path(NODE, CERTS, answering(config_path=f"{CERTS}:/etc/docker/certs.d")) == []
    )


def test_a_list_that_is_taken_for_one_directory_may_be_configured_as_that_directory() -> None:
    path = f"{CERTS}:/etc/docker/certs.d"
    assert check_config_path(NODE, path, answering(config_path=path, reads_lists=False)) == []


def test_a_configuration_newer_than_containerd_is_a_warning() -> None:
    (warning,) = planned(*in_place(config_is_newer=True)).warnings
    assert "changed after containerd started" in warning
    assert "restart" in warning


# take_back


def test_the_files_go_before_the_responder() -> None:
    _, taken = in_place()
    assert commands(take_back(NODE, DIRECTORY, taken)) == [
        f"taken put_back {DIRECTORY} {FILE}",
        f"taken put_back {DIRECTORY} {OTHER_FILE}",
        f"responder stop {DIRECTORY}",
    ]


def test_where_nothing_was_taken_nothing_is_taken_back() -> None:
    assert take_back(NODE, DIRECTORY, Taken()) == Part()


def test_an_edited_file_is_left_and_the_others_are_put_back() -> None:
    _, taken = in_place()
    text = (taken.files[0].now or "") + EDITED
    part = take_back(
        NODE, DIRECTORY, replace(taken, files=(replace(taken.files[0], now=text), taken.files[1]))
    )
    assert commands(part) == [
        f"taken put_back {DIRECTORY} {OTHER_FILE}",
        f"responder stop {DIRECTORY}",
    ]
    assert part.warnings == (
        f"k8s-node1:{FILE} was edited after breakglass wrote it, so it is left as it is",
    )


def test_a_deleted_file_is_left_too_and_reported_as_deleted() -> None:
    _, taken = changed(None)
    part = take_back(NODE, DIRECTORY, taken)
    assert commands(part) == [
        f"taken put_back {DIRECTORY} {OTHER_FILE}",
        f"responder stop {DIRECTORY}",
    ]
    assert part.warnings == (
        f"k8s-node1:{FILE} was deleted after breakglass wrote it, so it is left as it is",
    )


# The lines, run over real files


class Disk:
    """A node's files; `taken` runs on them, the responder is only said to run."""

    def __init__(self, root: Path) -> None:
        self.root, self.directory, self.certs = (
            root,
            root / "breakglass",
            root / "containerd/certs.d",
        )
        self.directory.mkdir(parents=True)

    def taken(self, *argv: str, lines: tuple[str, ...] = ()) -> Any:
        ended = subprocess.run(
            [sys.executable, "-m", "breakglass.remote", "taken", *argv],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            input="".join(f"{line}\n" for line in lines),
        )
        assert (ended.returncode, ended.stderr) == (0, "")
        return json.loads(ended.stdout)

    def read(self, port: int) -> tuple[Taken, Answering]:
        reported = self.taken(
            "read",
            str(self.directory),
            "--certs",
            str(self.certs),
            "--registry",
            PRIVATE,
            "--registry",
            FORGEJO,
        )
        sites = tuple(
            _site(registry, reported["sites"][registry]) for registry in (PRIVATE, FORGEJO)
        )
        return replace(_taken(reported), has_responder=True), Answering(
            sites, replace(RUNS, port=port), "/content", str(self.certs)
        )

    def begin(self) -> None:
        step = begin(NODE, str(self.directory), CTR)
        self.taken(*step.pipeline[0][3:], lines=step.lines)

    def set_up(self, *, port: int, pulls: tuple[Pull, ...]) -> int:
        """How many steps there were."""
        taken, known = self.read(port)
        part = set_up(
            NODE,
            str(self.directory),
            str(self.certs),
            CTR,
            Answers(taken, known, pulls),
            kept=KEPT,
            targets=TARGETS,
        )
        self.do(part)
        assert self.read(port)[0] == part.taken, "what was planned on is not what came"
        return len(part.steps)

    def do(self, part: Part) -> None:
        for step in part.steps:
            assert isinstance(step, Run)
            if step.pipeline[0][2] == "taken":
                self.taken(*step.pipeline[0][3:], lines=step.lines)

    def take_back(self) -> None:
        taken, _ = self.read(4000)
        part = take_back(NODE, str(self.directory), taken)
        self.do(part)
        assert self.read(4000)[0] == replace(part.taken, has_responder=True)
        self.taken("end", str(self.directory))

    def write(self, path: str, content: str = "") -> None:
        (self.certs / path).parent.mkdir(parents=True, exist_ok=True)
        (self.certs / path).write_text(content)

    def listing(self) -> dict[str, Any]:
        return {
            str(path.relative_to(self.root)): (
                path.lstat().st_mode,
                path.read_bytes() if path.is_file() else b"",
                path.lstat().st_mtime_ns if path.is_file() else 0,
            )
            for path in sorted(self.root.rglob("*"))
        }


def nothing(disk: Disk) -> None:
    assert not disk.certs.exists()


def one_file_and_certificates(disk: Disk) -> None:
    disk.write(
        f"{PRIVATE}/hosts.toml",
        f'server = "https://{PRIVATE}"\nca = "ca.crt"\r\n\n{MIRROR.rstrip()}',
    )
    for name in ("ca.crt", "client.cert", "client.key"):
        disk.write(f"{FORGEJO}/{name}")


def default_only(disk: Disk) -> None:
    disk.write("_default/hosts.toml", MIRROR)


def shared_over_links(disk: Disk) -> None:
    disk.write("shared/hosts.toml", f'server = "https://upstream.example"\n{MIRROR}')
    (disk.certs / PRIVATE).symlink_to("shared")
    (disk.certs / FORGEJO).symlink_to("shared")


def empty_and_other_name(disk: Disk) -> None:
    disk.write("registry.example_5050_/hosts.toml", "")
    disk.write(f"{FORGEJO}/hosts.toml", "# nothing\n")


def certs_is_a_link(disk: Disk) -> None:
    disk.write("_default/hosts.toml", MIRROR)
    disk.certs.rename(disk.root / "real")
    disk.certs.symlink_to(disk.root / "real")


@pytest.mark.parametrize(
    "furnish",
    [
        nothing,
        *(
            pytest.param(each, marks=pytest.mark.slow)
            for each in (
                one_file_and_certificates,
                default_only,
                shared_over_links,
                empty_and_other_name,
                certs_is_a_link,
            )
        ),
    ],
)
@pytest.mark.slow
def test_while_registries_come_and_go_a_second_run_changes_nothing(
    tmp_path: Path, furnish: Callable[[Disk], None]
) -> None:
    disk = Disk(tmp_path / "node")
    furnish(disk)
    at_first = disk.listing()
    disk.begin()
    broken = (BROKEN, SERVED[1])
    for port, pulls in (
        (4000, SERVED),
        (4001, SERVED),
        (4001, broken),
        (4000, broken),
        (4000, SERVED),
        (4000, ()),
    ):
        assert disk.set_up(port=port, pulls=pulls) > 0
        assert disk.set_up(port=port, pulls=pulls) == 0, f"the second time: {port}, {pulls}"
        reported = [site.text or "" for site in disk.read(port)[1].sites]
        assert all(
            text.count(f"127.0.0.1:{port}") == 1 and text.count("127.0.0.1:") == 1
            for text in reported
        )
    disk.take_back()
    assert disk.listing() == at_first


def test_a_file_that_was_deleted_between_two_imports_is_restored_as_it_was_at_first(
    tmp_path: Path,
) -> None:
    disk = Disk(tmp_path / "node")
    one_file_and_certificates(disk)
    at_first = disk.listing()
    disk.begin()
    disk.set_up(port=4000, pulls=())
    (disk.certs / PRIVATE / "hosts.toml").unlink()
    assert disk.set_up(port=4000, pulls=()) == 2
    assert disk.set_up(port=4000, pulls=()) == 0
    disk.take_back()
    assert disk.listing() == at_first


def test_what_somebody_put_in_the_place_of_ours_between_two_imports_is_there_in_the_end(
    tmp_path: Path,
) -> None:
    disk = Disk(tmp_path / "node")
    one_file_and_certificates(disk)
    disk.begin()
    disk.set_up(port=4000, pulls=())
    disk.write(f"{PRIVATE}/hosts.toml", MIRROR)
    assert disk.set_up(port=4000, pulls=()) == 1
    disk.take_back()
    assert (disk.certs / PRIVATE / "hosts.toml").read_text() == MIRROR


# restore

OURS = Pin("aaaa", "k8s-node1", "somebody@laptop", "2026-04-19T00:00:00Z", "night").text()
SECOND = Host("k8s-node2", "wizard@10.0.20.102", sudo=True)
DOWN = Unreachable("the API server was not reached")
LOCK = f"sudo -n flock --nonblock {DIRECTORY}/.breakglass.lock cat"


def taken_site(host: Host = NODE, **more: Any) -> restore_facts.Site:
    _, taken = in_place()
    return restore_facts.Site(host, replace(taken, **more), (KEEP,))


def edited_site(host: Host = NODE) -> restore_facts.Site:
    site = taken_site(host)
    first, second = site.taken.files
    return replace(
        site,
        taken=replace(site.taken, files=(replace(first, now=(first.now or "") + EDITED), second)),
    )


UNSERVED = "no registry serves the image"


def facts_of(
    *sites: restore_facts.Site, nodes: tuple[Node, ...] = (), unserved: str = "", **more: Any
) -> restore_facts.Facts:
    return replace(restore_facts.Facts(nodes, True, unserved, sites), **more)


def restored(facts: restore_facts.Facts, *names: str) -> Plan:
    return restore.plan(facts, names=names, nodes=NODES, identity=IDENTITY)


def left_over(facts: restore_facts.Facts, *names: str) -> BreakglassError | None:
    return restore_leftovers.left_over(facts, restored(facts, *names), names=names, nodes=NODES)


UNDOING = [
    f"k8s-node1$ sudo -n python3 breakglass-remote.pyz taken put_back {DIRECTORY} {FILE}",
    f"k8s-node1$ sudo -n python3 breakglass-remote.pyz taken put_back {DIRECTORY} {OTHER_FILE}",
    f"k8s-node1$ sudo -n python3 breakglass-remote.pyz responder stop {DIRECTORY}",
    f"k8s-node1$ sudo -n ctr -n k8s.io images rm {KEEP}",
    f"k8s-node1$ sudo -n python3 breakglass-remote.pyz taken end {DIRECTORY}",
]


def test_restore_takes_everything_from_a_node_under_its_lock_and_the_record_last() -> None:
    assert lines(restored(facts_of(taken_site()))) == [f"k8s-node1$ {LOCK}", *UNDOING]


def test_restore_uncordons_first_and_then_takes_back_from_each_node_by_itself() -> None:
    plan = restored(
        facts_of(
            taken_site(),
            taken_site(SECOND),
            nodes=(node("k8s-node2", cordoned=True, annotation=OURS),),
        )
    )
    made = lines(plan)
    assert made[0].startswith("operator$ kubectl patch node k8s-node2")
    first = [f"k8s-node1$ {LOCK}", *UNDOING]
    assert made[1:] == [*first, *(line.replace("k8s-node1", "k8s-node2") for line in first)]
    assert plan.independent, "no host waits for another, nor for the cluster"


def test_names_are_taken_from_the_namespace_that_the_import_has_put_them_into() -> None:
    made = lines(restored(facts_of(taken_site(namespace="other"))))
    assert made[-2:] == [UNDOING[3].replace("-n k8s.io", "-n other"), UNDOING[4]]
    assert not any("k8s.io" in line for line in made)


def test_restore_has_nothing_to_do_where_nothing_was_taken() -> None:
    facts = facts_of(restore_facts.Site(NODE, Taken(), ()))
    assert restored(facts).steps == ()
    assert left_over(facts) is None


@pytest.mark.parametrize(
    "taken", [recorded(has_responder=False), Taken(has_responder=True), Taken(is_begun=True)]
)
def test_restore_takes_back_what_a_half_finished_import_has_taken(taken: Taken) -> None:
    made = lines(restored(facts_of(restore_facts.Site(NODE, taken, (KEEP,)))))
    stop, end = (
        [line for line in UNDOING if "stop" in line],
        [line for line in UNDOING if " end " in line],
    )
    assert made == [
        f"k8s-node1$ {LOCK}",
        *(stop if taken.has_responder else []),
        UNDOING[3],
        *(end if taken.is_begun else []),
    ]


def test_an_edited_file_stays_with_the_record_and_restore_ends_with_exit_code_4() -> None:
    facts = facts_of(edited_site())
    made = restored(facts)
    assert lines(made) == [f"k8s-node1$ {LOCK}", *UNDOING[1:4]]
    assert any(FILE in warning for warning in made.warnings)
    error = left_over(facts)
    assert isinstance(error, Failed)
    assert f"k8s-node1:{FILE} was edited after breakglass wrote it" in error.message
    assert error.state == "All else was restored."
    record = f"{DIRECTORY}/.breakglass.json"
    assert str(error.next_step) == (
        f"correct the file (what was there before stands in {record}):\n"
        f"ssh wizard@10.0.20.101 sudo rm {record}\nbreakglass restore"
    )


def test_what_restore_ends_with_names_the_nodes_that_restore_was_given() -> None:
    error = left_over(facts_of(edited_site()), "k8s-node1", "k8s-node2")
    assert error is not None
    assert str(error.next_step).endswith("\nbreakglass restore k8s-node1 k8s-node2")


def test_lines_of_ours_that_no_record_knows_are_left_and_reported_with_the_line_to_type() -> None:
    stray = f"{CERTS}/old.example/hosts.toml"
    clean = restore_facts.Site(SECOND, Taken(strays=(stray,)))
    facts = facts_of(taken_site(strays=(stray,)), clean)
    made = restored(facts)
    assert lines(made) == [f"k8s-node1$ {LOCK}", *UNDOING]
    error = left_over(facts)
    assert isinstance(error, Failed)
    for host in (NODE, SECOND):
        sentence = f"{host}:{stray} holds lines of breakglass that no record in {DIRECTORY} knows"
        assert sentence in made.warnings
        assert sentence in error.message
        assert host.by_hand("editor", stray) in error.next_step.commands
    assert f"remove the lines that follow `{MARK}`" in error.next_step.advice
    alone = left_over(facts_of(clean))
    assert isinstance(alone, Failed)
    assert alone.state == "Nothing else was there to be restored."


def test_names_of_ours_without_a_record_are_left_and_reported_with_the_line_to_type() -> None:
    facts = facts_of(restore_facts.Site(NODE, Taken(), (KEEP, "breakglass.local/keep/other:kept")))
    made = restored(facts)
    assert made.steps == ()
    assert made.warnings == (
        (
            f"containerd on k8s-node1 has names of breakglass that no record in {DIRECTORY} "
            f"knows: {KEEP}, breakglass.local/keep/other:kept"
        ),
    )
    error = left_over(facts)
    assert isinstance(error, Failed)
    assert made.warnings[0] in error.message
    assert str(error.next_step) == (
        f"ssh wizard@10.0.20.101 sudo ctr -n k8s.io images rm {KEEP} "
        f"breakglass.local/keep/other:kept\nbreakglass restore"
    )


def test_nodes_that_may_not_be_patched_are_cleaned_all_the_same_and_restore_ends_with_4() -> None:
    facts = facts_of(
        taken_site(), nodes=(node("k8s-node1", cordoned=True, annotation=OURS),), may_patch=False
    )
    made = restored(facts)
    assert lines(made) == [f"k8s-node1$ {LOCK}", *UNDOING]
    assert "cordoned" not in made.goal
    assert any("the right patch on nodes is missing" in warning for warning in made.warnings)
    error = left_over(facts)
    assert isinstance(error, Failed)
    assert "the right patch on nodes is missing" in error.message


def test_where_nodes_may_not_be_patched_and_nothing_else_is_to_do_that_is_the_end() -> None:
    with pytest.raises(Unreachable, match="the right patch on nodes is missing"):
        restored(
            facts_of(
                restore_facts.Site(NODE, Taken()),
                nodes=(node("k8s-node1", cordoned=True, annotation=OURS),),
                may_patch=False,
            )
        )


@pytest.mark.parametrize("names", [("k8s-node1",), ("10.0.20.1",)])
def test_with_names_an_annotation_of_another_node_that_may_not_be_patched_is_none_of_it(
    names: tuple[str, ...],
) -> None:
    other = replace(node("k8s-node2", annotation=OURS), addresses=("10.0.20.2",))
    facts = facts_of(taken_site(), nodes=(node("k8s-node1"), other), may_patch=False)
    assert lines(restored(facts, *names)) == [f"k8s-node1$ {LOCK}", *UNDOING]
    assert left_over(facts, *names) is None


UNREAD = Unread("k8s-node2", Unreachable("k8s-node2: no route to host", where="k8s-node2"))


@pytest.mark.parametrize(
    ("facts", "names", "goal"),
    [
        (
            facts_of(taken_site()),
            (),
            (
                "no node is cordoned by us or carries an annotation of ours; no node serves "
                "the image locally or keeps an image for us"
            ),
        ),
        (
            facts_of(taken_site()),
            ("k8s-node1", "k8s-node2"),
            (
                "k8s-node1, k8s-node2: not cordoned by us, without our annotation; no image is "
                "served locally or kept for us"
            ),
        ),
        (
            facts_of(taken_site(), unread=(UNREAD,)),
            (),
            (
                "no node that was reached is cordoned by us or carries an annotation of ours; no "
                "node that was reached serves the image locally or keeps an image for us"
            ),
        ),
        (
            facts_of(taken_site(), api=DOWN),
            ("k8s-node1",),
            "k8s-node1: no image is served locally or kept for us",
        ),
        (
            facts_of(edited_site(), api=DOWN),
            ("k8s-node1",),
            (
                "k8s-node1: no image is served locally or kept for us, but for what the "
                "warnings name"
            ),
        ),
        (
            facts_of(
                taken_site(),
                nodes=(node("k8s-node1", cordoned=True, annotation=OURS),),
                may_patch=False,
            ),
            (),
            "no node serves the image locally or keeps an image for us, but for what the warnings "
            "name",
        ),
        (
            facts_of(edited_site()),
            (),
            (
                "no node is cordoned by us or carries an annotation of ours; no node serves "
                "the image locally or keeps an image for us, but for what the warnings name"
            ),
        ),
    ],
)
def test_the_goal_names_what_was_reached_and_no_more(
    facts: restore_facts.Facts, names: tuple[str, ...], goal: str
) -> None:
    assert restored(facts, *names).goal == goal


def test_a_second_restore_with_an_edited_file_has_nothing_to_do_and_says_the_same_again() -> None:
    site = edited_site()
    facts = facts_of(
        replace(
            site,
            names=(),
            taken=replace(site.taken, files=site.taken.files[:1], has_responder=False),
        )
    )
    assert restored(facts).steps == ()
    error = left_over(facts)
    assert isinstance(error, Failed)
    assert FILE in error.message


def test_restore_of_a_named_node_works_without_the_api_and_says_that_no_node_is_uncordoned() -> (
    None
):
    facts = facts_of(taken_site(), api=DOWN)
    made = restored(facts, "k8s-node1")
    assert lines(made) == [f"k8s-node1$ {LOCK}", *UNDOING]
    assert "no node is uncordoned" in made.warnings[0]
    assert "cordoned" not in made.goal
    assert left_over(facts, "k8s-node1") is None


def test_restore_without_names_while_the_api_is_down_restores_what_it_reaches_and_fails() -> None:
    facts = facts_of(taken_site(), api=DOWN)
    assert lines(restored(facts)) == [f"k8s-node1$ {LOCK}", *UNDOING]
    error = left_over(facts)
    assert isinstance(error, Failed)
    assert DOWN.message in error.message
    assert error.next_step.commands == ("breakglass restore",)
    assert to_json(restore.result(facts, restored(facts)))["unreached"] == ["api"]


def test_restore_without_names_that_reached_nothing_at_all_is_unreachable() -> None:
    assert isinstance(left_over(facts_of(api=DOWN)), Unreachable)


@pytest.mark.parametrize("names", [(), ("k8s-node1", "k8s-node2")])
def test_a_node_that_was_not_reached_is_listed_and_restore_ends_with_exit_code_4(
    names: tuple[str, ...],
) -> None:
    facts = facts_of(
        taken_site(),
        unread=(
            Unread("k8s-node2", Unreachable("k8s-node2: no route to host", where="k8s-node2")),
        ),
    )
    assert lines(restored(facts, *names)) == [f"k8s-node1$ {LOCK}", *UNDOING]
    error = left_over(facts, *names)
    assert isinstance(error, Failed)
    assert "k8s-node2: no route to host" in error.message
    assert to_json(restore.result(facts, restored(facts, *names)))["unreached"] == ["k8s-node2"]


def test_restore_warns_of_nodes_that_no_longer_answer_while_no_registry_serves_the_image() -> None:
    assert any(
        f"{UNSERVED}: unless that changes" in warning
        for warning in restored(facts_of(taken_site(), unserved=UNSERVED)).warnings
    )
    assert (
        restored(facts_of(restore_facts.Site(NODE, Taken(), ()), unserved=UNSERVED)).warnings == ()
    )


def test_the_result_names_whom_was_uncordoned_and_what_was_cleaned_once_each() -> None:
    facts = facts_of(
        taken_site(),
        taken_site(SECOND),
        nodes=(node("a", cordoned=True, annotation=OURS), node("b", annotation=OURS)),
    )
    assert to_json(restore.result(facts, restored(facts))) == {
        "uncordoned": ["a"],
        "cleaned": ["k8s-node1", "k8s-node2"],
        "unreached": [],
        "left_cordoned": [],
    }


# restore, reading


class Reached:
    """ports.Reads: hosts that answer to `taken read`, `ctr images ls` and `true`, and to nothing
    else; one that is not here is not reached.
    """

    def __init__(self, **taken: Taken | None) -> None:
        self.taken = {f"wizard@{name.replace('_', '.')}": value for name, value in taken.items()}
        for number in range(10):
            # The API knows n0 by its address.
            if f"wizard@n{number}" in self.taken:
                self.taken[f"wizard@10.0.30.{number}"] = self.taken[f"wizard@n{number}"]
        self.without_containerd: tuple[str, ...] = ()

    def ask(self, host: Host, *pipeline: Argv, quiet_seconds: float = 30.0) -> Result:  # noqa: ARG002 (the protocol has it)
        if host.ssh not in self.taken:
            raise Unreachable(f"{host}: no route to host", where=host.name)
        taken = self.taken[host.ssh]
        (argv,) = pipeline
        if argv == ("true",):
            return Result(0, b"", b"")
        if argv == (
            "python3",
            "breakglass-remote.pyz",
            "taken",
            "read",
            DIRECTORY,
            "--certs",
            CERTS,
        ):
            if taken is None:
                return Result(
                    4, b"", b"/var/breakglass/.breakglass.json cannot be read: it is damaged\n"
                )
            record = (
                json.dumps({"schema": 1, "namespace": taken.namespace, "files": {}})
                if taken.is_begun
                else "null"
            )
            reported = json.dumps(
                {"responder": taken.has_responder, "now": {}, "strays": taken.strays}
            )
            return Result(0, f'{{"record": {record}, {reported[1:]}'.encode(), b"")
        assert argv == (
            "ctr",
            "-n",
            (taken.namespace if taken else None) or "k8s.io",
            "images",
            "ls",
        )
        if host.ssh in self.without_containerd:
            return Result(1, b"", b"ctr: containerd is not running\n")
        listed = "REF TYPE DIGEST SIZE PLATFORMS LABELS\n" + "".join(
            f"{name} t {DIGEST} 1 - -\n"
            for name in ((KEEP, NAME, BEFORE) if taken and taken.is_begun else (NAME,))
        )
        return Result(0, listed.encode(), b"")


class Api:
    """ports.ReadsCluster."""

    def __init__(
        self,
        *names: str,
        annotation: str | None = None,
        address: str = "10.0.30.{}",
        down: bool = False,
    ) -> None:
        self.down = down
        self.items = [
            {
                "metadata": {
                    "name": name,
                    "annotations": {"breakglass/pinned": annotation} if annotation else {},
                },
                "spec": {"unschedulable": annotation is not None},
                "status": {
                    "addresses": [{"type": "InternalIP", "address": address.format(number)}]
                },
            }
            for number, name in enumerate(names)
        ]

    def nodes(self) -> list[dict[str, Any]]:
        if self.down:
            raise DOWN
        return self.items

    def pods(self) -> list[dict[str, Any]]:
        raise AssertionError("restore reads no pods")

    def volumes(self) -> list[dict[str, Any]]:
        raise AssertionError("restore reads no pods")


def environment(hosts: Reached, cluster: Api, **addresses: str) -> Environment:
    config = Config(
        IMAGE,
        SETTINGS,
        (),
        Nodes("wizard", {name.replace("_", "-"): address for name, address in addresses.items()}),
        (
            Registry(
                "forgejo",
                "https://forgejo.example",
                "viktor/infra-ci",
                names=("forgejo.example/viktor/infra-ci",),
            ),
        ),
        Ssh(Path("c"), Path("k")),
        Kubernetes(),
        Status(),
        Path("f"),
    )

    def image_id(*_: str) -> Any:
        raise AssertionError("restore asks for no image ID")

    def nothing_is_pulled(*_: str) -> Any:
        raise AssertionError("restore pulls nothing")

    return Environment(
        config,
        hosts,
        cluster,
        IDENTITY,
        lambda _: (Found("forgejo", State.SERVES),),
        image_id,
        nothing_is_pulled,
        lambda: True,
    )


TOOK = recorded()


def observed(hosts: Reached, cluster: Api, *names: str, **addresses: str) -> restore_facts.Facts:
    return restore_facts.observe(environment(hosts, cluster, **addresses), names=names)


def test_restore_looks_at_every_known_node_and_takes_only_names_of_ours() -> None:
    facts = observed(
        Reached(n0=TOOK, n1=Taken(), spare=TOOK), Api("k8s-node1", "k8s-node2"), k8s_node9="spare"
    )
    assert [site.host.name for site in facts.sites] == ["k8s-node1", "k8s-node2", "k8s-node9"]
    assert facts.sites[0].names == (BEFORE, KEEP)
    assert facts.sites[1].names == ()
    assert facts.unserved == ""


def test_restore_with_the_api_down_looks_at_the_nodes_of_the_configuration() -> None:
    facts = observed(Reached(n0=TOOK), Api(down=True), k8s_node1="n0")
    assert [site.host.name for site in facts.sites] == ["k8s-node1"]
    assert facts.api is DOWN


def test_restore_with_the_api_down_takes_a_name_for_the_ssh_host() -> None:
    facts = observed(Reached(n0=TOOK), Api(down=True), "n0")
    assert [str(site.host) for site in facts.sites] == ["n0"]


def test_a_node_whose_record_is_damaged_or_that_is_not_reached_hides_no_other_node() -> None:
    facts = observed(Reached(n0=None, n1=TOOK), Api("k8s-node1", "k8s-node2", "k8s-node3"))
    assert [site.host.name for site in facts.sites] == ["k8s-node2"]
    # Nothing says that there is something of ours, so it is a note.
    assert facts.unread == ()
    assert {unread.name: unread.error.exit_code for unread in facts.unseen} == {
        "k8s-node1": 4,
        "k8s-node3": 5,
    }
    assert "it is damaged" in str(facts.unseen[0])


@pytest.mark.parametrize("names", [("k8s-node1", "k8s-node1"), ("k8s-node1", "n0")])
def test_a_node_that_is_named_twice_is_one_node(names: tuple[str, ...]) -> None:
    facts = observed(Reached(n0=TOOK), Api("k8s-node1"), *names)
    made = lines(restored(facts, *names))
    assert len(made) == len(set(made)), "two locks of one node would wait for each other"


def test_a_target_that_has_left_the_cluster_does_not_keep_the_others_cordoned() -> None:
    pin = Pin("aaaa", "k8s-gone", "somebody@laptop", "2026-04-19T00:00:00Z", "night").text()
    facts = observed(Reached(n0=Taken()), Api("k8s-node1", annotation=pin))
    assert [line.split()[4] for line in lines(restored(facts))] == ["k8s-node1"]
    assert [unread.name for unread in facts.unread] == ["k8s-gone"]
    assert isinstance(left_over(facts), Failed)


def test_a_target_that_is_reported_by_its_address_is_one_node() -> None:
    pin = Pin("aaaa", "10.0.20.0", "somebody@laptop", "2026-04-19T00:00:00Z", "night").text()
    cluster = Api("k8s-node1", annotation=pin, address="10.0.20.{}")
    made = lines(restored(observed(Reached(**{"10_0_20_0": TOOK}), cluster)))
    assert len(made) == len(set(made))


def test_a_machine_that_has_two_names_is_looked_at_once() -> None:
    facts = observed(Reached(n0=TOOK, n1=TOOK), Api("k8s-node1", "k8s-node2"), also="10.0.30.0")
    assert sorted(site.host.ssh for site in facts.sites) == ["wizard@10.0.30.0", "wizard@10.0.30.1"]
    assert "k8s-node1" in {site.host.name for site in facts.sites}, "the first of its names"


def test_names_are_looked_for_in_the_namespace_of_the_record() -> None:
    (site,) = observed(Reached(n0=recorded(namespace="other")), Api("k8s-node1")).sites
    assert (site.taken.namespace, site.names) == ("other", (BEFORE, KEEP))
    assert any("ctr -n other images rm" in line for line in lines(restored(facts_of(site))))


def test_a_containerd_that_does_not_answer_counts_only_where_something_was_taken() -> None:
    hosts = Reached(n0=TOOK, n1=Taken())
    hosts.without_containerd = ("wizard@10.0.30.0", "wizard@10.0.30.1")
    facts = observed(hosts, Api("k8s-node1", "k8s-node2"))
    assert [site.host.name for site in facts.sites] == ["k8s-node2"]
    assert [unread.name for unread in facts.unseen] == ["k8s-node1"]


def test_what_a_begun_record_and_strays_say_is_read() -> None:
    (site,) = observed(Reached(n0=Taken(is_begun=True, strays=(FILE,))), Api("k8s-node1")).sites
    assert site.taken == Taken(is_begun=True, strays=(FILE,))
    assert not site.is_clean


def test_a_second_look_is_at_those_nodes_only_from_which_something_was_taken() -> None:
    hosts, cluster = Reached(n0=TOOK, n1=Taken()), Api("k8s-node1", "k8s-node2")
    facts = observed(hosts, cluster)
    del hosts.taken["wizard@n1"]
    again = restore_facts.observe_again(environment(hosts, cluster), facts)
    assert sorted(site.host.name for site in again.sites) == ["k8s-node1", "k8s-node2"]
    assert again.unread == ()
    assert lines(restored(again)) == lines(restored(facts))


def test_nodes_do_not_wait_for_an_api_that_goes_away_between_two_looks() -> None:
    hosts, cluster = Reached(n0=TOOK), Api("k8s-node1")
    facts = observed(hosts, cluster)
    cluster.down = True
    again = restore_facts.observe_again(environment(hosts, cluster), facts)
    assert again.api is DOWN
    assert lines(restored(again)) == lines(restored(facts))
