"""The SSH configuration leads where `ssh -G` says it does."""

import getpass
import os
import pwd
import shlex
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from breakglass.errors import Usage
from breakglass.ssh.config_file import Destination
from breakglass.ssh.settings import Target, ask_openssh, parse_destination, resolve

HOME = pwd.getpwuid(os.getuid()).pw_dir

CONFIGS = {
    "an empty file changes nothing": ("", "node"),
    "a Host block": ("Host node\n HostName 10.0.20.103\n User wizard\n Port 2222\n", "node"),
    "the first value found counts": (
        "Host node\n User first\nHost *\n User second\n Port 99\n",
        "node",
    ),
    "values before any Host block are for all": ("User early\nHost node\n User late\n", "node"),
    "a negated pattern": ("Host * !node\n User other\nHost *\n User all\n", "node"),
    "wildcards": ("Host k8s-node?\n User wizard\nHost k8s-*\n Port 7\n", "k8s-node1"),
    "a pattern with brackets is no class": ("Host n[o]de\n User x\n", "node"),
    "Host is compared as it is written": (
        "Host Node\n User upper\nHost node\n User lower\n",
        "Node",
    ),
    "HostName with %h": ("Host node\n HostName %h.Lan.Example\n", "node"),
    "a user and a port that were typed": ("Host *\n User conf\n Port 9\n", "typed@node:44"),
    "equals signs and quotes": ('Host="node"\nUser = "wizard"\nPort=5\n', "node"),
    "a comment at the end of a line": (
        "Host node # no comment host\n User wizard # here\n",
        "node",
    ),
    "keywords in any case, tabs": ("hOST node\n\tuSER\twizard\n", "node"),
    "Match host after HostName": (
        "Host node\n HostName real\nMatch host real\n User byreal\nMatch host node\n Port 3\n",
        "node",
    ),
    "Match originalhost": (
        "Host node\n HostName real\nMatch originalhost node\n User orig\n",
        "node",
    ),
    "Match user": ("Match user wizard\n Port 12\nHost node\n User late\n", "wizard@node"),
    "Match negated": (
        "Match !host other,node\n User a\nMatch host node !user bob\n User b\n",
        "node",
    ),
    "Match all": ("Match host nobody\n User a\nMatch all\n User b\n", "node"),
    "Match localuser": (
        f"Match localuser {getpass.getuser()}\n User me\nMatch localuser nobody\n Port 5\n",
        "node",
    ),
    "Match canonical and final, negated": (
        "Match canonical\n User a\nMatch !canonical\n Port 6\n",
        "node",
    ),
    "two criteria": (
        "Match originalhost node user carol\n Port 8\nMatch originalhost node user dave\n Port 9\n",
        "dave@node",
    ),
    "identity files add up": (
        (
            "Host node\n IdentityFile ~/.ssh/one\nHost *\n IdentityFile /keys/two\n IdentityFile "
            "~/.ssh/one\n"
        ),
        "node",
    ),
    "tokens in IdentityFile": (
        "Host node\n HostName real\n User wizard\n Port 77\n IdentityFile %d/%u/%r/%h/%n/%p/%%x\n",
        "node",
    ),
    "a quoted IdentityFile with a space": ('IdentityFile "/keys/with space"\n', "node"),
    "certificate files add up": (
        "Host node\n CertificateFile ~/one\nHost *\n CertificateFile /keys/%r-cert.pub\n",
        "node",
    ),
    "IdentitiesOnly": ("IdentitiesOnly yes\nIdentityFile /keys/one\n", "node"),
    "IdentityAgent none": ("IdentityAgent none\n", "node"),
    "IdentityAgent by path": ("IdentityAgent ~/agent/%r\n", "node"),
    "ProxyJump": ("Host node\n ProxyJump wizard@gate:2222,inner\n", "node"),
    "ProxyJump none wins over a later one": (
        "Host node\n ProxyJump none\nHost *\n ProxyJump gate\n",
        "node",
    ),
    "ProxyJump before ProxyCommand": ("Host *\n ProxyJump gate\n ProxyCommand nc x y\n", "node"),
    "ProxyCommand before ProxyJump": ("Host *\n ProxyCommand nc %h %p\n ProxyJump gate\n", "node"),
    "HostKeyAlias": ("HostKeyAlias vm\n", "node"),
    "several known_hosts files": (
        "UserKnownHostsFile /a/one ~/two\nGlobalKnownHostsFile /g\n",
        "node",
    ),
    "no known_hosts files": ("UserKnownHostsFile none\nGlobalKnownHostsFile none\n", "node"),
    "an address family": ("AddressFamily inet6\n", "node"),
    "Include in order": ("Include DIR/first.conf\nHost *\n User main\n", "node"),
    "Include with a pattern": ("Include DIR/*.conf\n", "node"),
    "Include within a block that applies": (
        "Host node\n Include DIR/first.conf\n Port 4\n",
        "node",
    ),
    "Include within a block that does not apply": (
        "Host other\n Include DIR/first.conf\nHost node\n Port 4\n",
        "node",
    ),
    "Include of what does not exist": ("Include DIR/none/*.conf\nUser x\n", "node"),
    "a Host block of an included file ends with it": (
        "Include DIR/second.conf\nUser after\n",
        "node",
    ),
    "upper case in a host name": ("User x\n", "NODE.Example"),
    "an IPv6 address": ("User x\n", "wizard@[::1]:2200"),
}
INCLUDED = {
    "first.conf": "Host node\n User included\n Port 1022\n",
    "second.conf": "Host other\n Port 5\n",
}


def resolved(config: Path, destination: str, **environ: str) -> Target:
    return resolve(
        destination,
        config=config,
        known_hosts=Path("/default/known_hosts"),
        environ={"HOME": HOME, **environ},
    )


@pytest.mark.skipif(shutil.which("ssh") is None, reason="no ssh client to compare with")
@pytest.mark.parametrize(("text", "destination"), CONFIGS.values(), ids=CONFIGS)
def test_a_destination_is_resolved_as_openssh_does(
    text: str, destination: str, tmp_path: Path
) -> None:
    for name, content in INCLUDED.items():
        (tmp_path / name).write_text(content)
    config = tmp_path / "config"
    config.write_text(text.replace("DIR", str(tmp_path)))
    ours = resolved(config, destination)
    typed = parse_destination(destination)
    command = [
        "ssh",
        "-G",
        "-F",
        str(config),
        *(("-l", typed.user) if typed.user else ()),
        *(("-p", str(typed.port)) if typed.port else ()),
        typed.host,
    ]
    environment = {key: value for key, value in os.environ.items() if key != "SSH_AUTH_SOCK"}
    lines = subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    theirs: dict[str, list[str]] = {}
    for line in lines:
        keyword, _, value = line.partition(" ")
        theirs.setdefault(keyword, []).append(value)
    assert ours.hostname == theirs["hostname"][0]
    assert ours.port == int(theirs["port"][0])
    assert ours.login == theirs["user"][0]
    assert ours.host_key_alias == theirs.get("hostkeyalias", [None])[0]
    assert ours.identities_only == (theirs["identitiesonly"][0] == "yes")
    assert ",".join(ours.jumps) == theirs.get("proxyjump", [""])[0]
    assert ours.proxy_command == theirs.get("proxycommand", [None])[0]
    assert {socket.AF_UNSPEC: "any", socket.AF_INET: "inet", socket.AF_INET6: "inet6"}[
        ours.address_family
    ] == theirs["addressfamily"][0]
    expected_files = [
        name.replace("~", HOME, 1)
        for name in theirs["identityfile"]
        if not name.endswith(("_xmss", "_dsa"))
    ]
    tokens = {
        "%d": HOME,
        "%u": getpass.getuser(),
        "%r": ours.login,
        "%h": ours.hostname,
        "%n": typed.host,
        "%p": str(ours.port),
        "%%": "%",
    }
    for token, value in tokens.items():
        expected_files = [name.replace(token, value) for name in expected_files]
    assert [str(file) for file in ours.identity_files] == expected_files
    certificates = [
        name.replace("~", HOME, 1).replace("%r", ours.login)
        for name in theirs.get("certificatefile", [])
    ]
    assert [str(file) for file in ours.certificate_files] == certificates
    known = (
        theirs["userknownhostsfile"][0].split()
        if "UserKnownHostsFile" in text
        else ["/default/known_hosts"]
    )
    known = [
        name.replace("~", HOME, 1)
        for name in (*known, *theirs["globalknownhostsfile"][0].split())
        if name != "none"
    ]
    assert [str(file) for file in ours.known_hosts] == known
    agent = theirs.get("identityagent", [None])[0]
    assert ours.agent_socket == (
        None
        if agent in (None, "none")
        else (agent or "").replace("~", HOME, 1).replace("%r", ours.login)
    )


@pytest.mark.skipif(shutil.which("ssh") is None, reason="no ssh client to compare with")
@pytest.mark.parametrize("text", ["Host node\n User first\n Port 99\n", None])
@pytest.mark.parametrize(
    "destination", ["node", "wizard@node", "node:22", "wizard@node:2222", "root@[2001:db8::1]:2222"]
)
def test_ssh_v_logs_in_as_breakglass_does(
    tmp_path: Path, text: str | None, destination: str
) -> None:
    config = tmp_path / "config"
    if text is not None:
        config.write_text(text)
    target = resolved(config, destination)
    command, _ = ask_openssh(target).typed_commands
    program, verbose, *arguments = shlex.split(command)
    assert (program, verbose, arguments[-1]) == ("ssh", "-v", "true")
    printed = subprocess.run(
        ["ssh", "-G", *arguments], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    meant = dict(line.partition(" ")[::2] for line in printed)
    assert (meant["user"], meant["hostname"], meant["port"], meant["userknownhostsfile"]) == (
        target.login,
        target.hostname,
        str(target.port),
        "/default/known_hosts",
    )


def test_the_usual_files_are_not_named_to_the_ssh_client() -> None:
    usual = Path(HOME) / ".ssh"
    target = resolve(
        "wizard@node:2222",
        config=usual / "config",
        known_hosts=usual / "known_hosts",
        environ={"HOME": HOME},
        jumps=("a", "b:5"),
    )
    assert target.client == ("-J", "a,b:5", "-p", "2222", "wizard@node")


def test_a_user_that_nobody_names_is_left_open(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("Host other\n User wizard\n")
    assert resolved(tmp_path / "config", "node").user is None
    assert resolved(tmp_path / "config", "other").user == "wizard"


def test_match_exec_is_neither_run_nor_matched(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    (tmp_path / "config").write_text(
        f'Match exec "touch {mark}"\n User a\nMatch !exec "touch {mark}"\n User b\nMatch '
        f"frobnicate x\n User c\n"
    )
    assert resolved(tmp_path / "config", "node").user is None
    assert not mark.exists()


def test_jumps_that_are_given_override_those_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("ProxyJump gate\n")
    target = resolve(
        "node",
        config=tmp_path / "config",
        known_hosts=Path("k"),
        environ={"HOME": HOME},
        jumps=("a", "b:5"),
    )
    assert target.jumps == ("a", "b:5")


def test_a_missing_configuration_is_an_empty_one(tmp_path: Path) -> None:
    target = resolved(tmp_path / "none", "wizard@10.0.20.103:2222")
    assert (target.login, target.hostname, target.port) == ("wizard", "10.0.20.103", 2222)


def test_the_agent_is_the_one_of_the_environment_unless_another_is_named(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("Host other\n IdentityAgent $OTHER\n")
    assert (
        resolved(tmp_path / "config", "node", SSH_AUTH_SOCK="/run/agent").agent_socket
        == "/run/agent"
    )
    assert (
        resolved(
            tmp_path / "config", "other", SSH_AUTH_SOCK="/run/agent", OTHER="/run/other"
        ).agent_socket
        == "/run/other"
    )


def test_a_quote_that_is_not_closed_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "config").write_text('Host node\n User "wizard\n')
    with pytest.raises(Usage, match="config:2"):
        resolved(tmp_path / "config", "node")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("node", Destination("node")),
        ("root@10.0.20.10", Destination("10.0.20.10", "root")),
        ("node:2222", Destination("node", None, 2222)),
        ("a@b@node:1", Destination("node", "a@b", 1)),
        ("::1", Destination("::1")),
        ("fe80::1%eth0", Destination("fe80::1%eth0")),
        ("u@[fe80::1]:22", Destination("fe80::1", "u", 22)),
    ],
)
def test_a_destination_has_a_user_a_host_and_a_port(text: str, parts: Destination) -> None:
    assert parse_destination(text) == parts


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-oProxyCommand=x",
        "a b",
        "$(id)",
        "node;x",
        "root@",
        "@node",
        "node:",
        "node:0",
        "node:70000",
        "no\nde",
        "-l@node",
        "[::1",
        "u@-x",
        "node:2x",
    ],
)
def test_a_hostile_destination_is_a_usage_error(text: str) -> None:
    with pytest.raises(Usage):
        parse_destination(text)
