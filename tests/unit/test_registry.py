import base64
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakglass.config import Registry
from breakglass.registry import (
    Credentials,
    Found,
    ImageId,
    Login,
    State,
    image_id,
    look,
    look_all,
    read_credentials,
)
from breakglass.remote.distribution.session import MAX_REDIRECTS
from breakglass.remote.distribution.tokens import challenges_of
from breakglass.remote.limits import DOCUMENT_BYTES
from tests.registry_server import RegistryServer, make_authority
from tests.unit.registry_example import NOBODY, Example, fill


@pytest.fixture
def example() -> Iterator[Example]:
    with RegistryServer() as server:
        yield fill(server)


@pytest.fixture
def elsewhere() -> Iterator[RegistryServer]:
    with RegistryServer() as server:
        yield server


def test_an_image_whose_every_part_is_there_is_served(example: Example) -> None:
    store = example.server.store
    assert example.look() == Found(
        "forgejo",
        State.SERVES,
        example.index,
        image_ids={
            "linux/amd64": store.config_of(example.amd64),
            "linux/arm64": store.config_of(example.arm64),
        },
    )
    for blob in store.blobs:
        assert example.server.asked("GET", blob), "bytes of every blob are read"
        assert not example.server.asked("HEAD", blob), "nothing is believed of a HEAD"


def test_an_image_without_an_index_is_served_and_its_platform_comes_from_its_configuration(
    example: Example,
) -> None:
    store = example.server.store
    store.tags["abc"] = example.amd64
    assert example.look(platform="linux/amd64") == Found(
        "forgejo",
        State.SERVES,
        example.amd64,
        image_ids={"linux/amd64": store.config_of(example.amd64)},
    )
    assert example.look(platform="linux/s390x").state == "broken"


def test_a_tag_that_is_not_there_is_lacking(example: Example) -> None:
    assert example.look(tag="nope").state == "lacks the tag"
    assert example.image_id(tag="nope").state == "lacks the tag"


def test_an_index_whose_child_is_gone_is_broken_and_the_child_is_named(example: Example) -> None:
    del example.server.store.manifests[example.amd64]
    found = example.look()
    assert (found.state, found.digest, found.missing) == ("broken", example.index, (example.amd64,))
    assert "HTTP 404" in found.detail
    reported = example.image_id()
    assert (reported.state, reported.image_id, reported.missing) == (
        "broken",
        None,
        (example.amd64,),
    )


def test_with_a_platform_only_that_platform_decides_and_the_rest_is_reported(
    example: Example,
) -> None:
    del example.server.store.manifests[example.arm64]
    assert example.look().state == "broken"
    found = example.look(platform="linux/amd64")
    assert (found.state, found.missing) == ("serves", (example.arm64,))
    assert found.detail.startswith("lost, but not needed for linux/amd64: HTTP 404 for ")
    assert example.look(platform="linux/arm64/v8").state == "broken"


def test_a_manifest_that_only_head_knows_is_broken(example: Example) -> None:
    example.server.faults.status[f"manifests/{example.index}"] = 404
    found = example.look()
    assert (found.state, found.digest, found.missing) == ("broken", example.index, (example.index,))


def test_a_blob_that_is_gone_is_named(example: Example) -> None:
    layer = example.server.store.layers_of(example.amd64)[1]
    del example.server.store.blobs[layer]
    found = example.look()
    assert (found.state, found.missing) == ("broken", (layer,))


def test_a_configuration_that_is_gone_is_named(example: Example) -> None:
    configuration = example.server.store.config_of(example.amd64)
    del example.server.store.blobs[configuration]
    example.server.store.tags["abc"] = example.amd64
    assert example.look().missing == (configuration,)


def test_a_blob_of_another_length_is_named(example: Example) -> None:
    layer = example.server.store.layers_of(example.arm64)[0]
    example.server.faults.lengths[layer] = 3
    found = example.look()
    assert (found.state, found.missing) == ("broken", (layer,))
    assert "3 bytes instead of" in found.detail


@pytest.mark.parametrize("part", ["index", "amd64"])
def test_a_manifest_that_does_not_hash_to_its_digest_is_broken(example: Example, part: str) -> None:
    digest = getattr(example, part)
    content = example.server.store.manifests[digest][0]
    example.server.faults.bodies[digest] = content.replace(b" ", b"\t", 1)
    found = example.look()
    assert (found.state, found.missing) == ("broken", (digest,))


def test_without_a_promised_digest_it_is_computed(example: Example) -> None:
    example.server.faults.omit_digest = True
    assert (example.look().state, example.look().digest) == ("serves", example.index)


@pytest.mark.parametrize("status", [400, 403, 405, 501])
def test_a_registry_without_head_is_asked_by_get(example: Example, status: int) -> None:
    example.server.faults.head_status = status
    assert (example.look().state, example.look().digest) == ("serves", example.index)
    assert example.look(tag="nope").state == "lacks the tag"


@pytest.mark.parametrize(
    "document",
    [
        [],
        "text",
        {"manifests": [{"digest": "sha256:../../../etc"}]},
        {"manifests": [None]},
        {"config": {"digest": 5}, "layers": []},
        {"config": {"digest": "sha256:" + "0" * 64}, "layers": [{}]},
        {"schemaVersion": 1, "fsLayers": []},
    ],
)
def test_what_is_no_manifest_is_broken_and_never_a_bug(example: Example, document: object) -> None:
    described = example.server.store.add_manifest(document, "application/json")
    example.server.store.tags["odd"] = described["digest"]
    assert example.look(tag="odd").state == "broken"
    assert not example.server.asked("GET", "etc")


def test_an_index_within_an_index_is_followed_to_a_limited_depth(example: Example) -> None:
    store = example.server.store
    inner = store.add_index(store.add_image("amd64"))
    store.tags["nested"] = store.add_index(inner)["digest"]
    assert example.look(tag="nested").image_ids.keys() == {"linux/amd64"}
    for _ in range(5):
        inner = store.add_index(inner)
    store.tags["deep"] = inner["digest"]
    assert example.look(tag="deep").state == "broken"


def test_a_manifest_of_more_than_four_mebibytes_is_not_read(example: Example) -> None:
    described = example.server.store.add_manifest(
        {"manifests": [], "padding": "x" * (5 << 20)}, "application/json"
    )
    example.server.store.tags["large"] = described["digest"]
    assert example.look(tag="large").state == "broken"


def test_a_flood_is_not_read_to_its_end(example: Example) -> None:
    example.server.faults.flood = f"manifests/{example.index}"
    found = example.look(seconds=3)
    assert found.state == "broken"
    assert f"more than {DOCUMENT_BYTES} bytes" in found.detail


def test_a_manifest_cut_in_the_middle_is_no_answer(example: Example) -> None:
    example.server.faults.cut = example.index
    found = example.look()
    assert found.state == "unreachable"
    assert "cut in the middle" in found.detail


@pytest.mark.parametrize("status", [404, 500, 502, 503])
def test_a_server_in_front_of_a_dead_registry_is_unreachable(example: Example, status: int) -> None:
    example.server.faults.status["/v2/"] = status
    found = example.look()
    assert found.state == "unreachable"
    assert f"HTTP {status}" in found.detail


def test_a_broken_image_is_not_hidden_by_a_registry_that_falls_over_meanwhile(
    example: Example,
) -> None:
    layers = example.server.store.layers_of(example.amd64)
    example.server.faults.status[layers[0]] = 503
    assert example.look().state == "unreachable"
    del example.server.store.blobs[layers[1]]
    assert (example.look().state, example.look().missing) == ("broken", (layers[1],))


def test_a_port_where_nobody_listens_is_unreachable() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        found = look(
            Registry("gone", f"http://127.0.0.1:{closed.getsockname()[1]}", "infra-ci"),
            "abc",
            credentials=NOBODY,
        )
    assert (found.state, found.detail) == ("unreachable", "connection refused")


def test_a_name_that_does_not_resolve_is_unreachable() -> None:
    found = look(
        Registry("gone", "https://registry.invalid", "infra-ci"),
        "abc",
        credentials=NOBODY,
        deadline_seconds=2,
    )
    assert found.state == "unreachable"
    assert "does not resolve" in found.detail


def test_what_does_not_speak_http_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            wire, _ = listener.accept()
            with wire:
                wire.recv(4096)
                wire.sendall(b"\x1b[31mSSH-2.0-OpenSSH_9.2\r\n")

        thread = threading.Thread(target=greet)
        thread.start()
        found = look(
            Registry("odd", f"http://127.0.0.1:{listener.getsockname()[1]}", "infra-ci"),
            "abc",
            credentials=NOBODY,
            deadline_seconds=2,
        )
        thread.join()
    assert found.state == "unreachable"
    assert "\x1b" not in found.detail


@pytest.mark.parametrize("where", ["/v2/", "manifests/abc", "blobs/"])
@pytest.mark.parametrize("how", ["hang", "drip"])
def test_a_server_that_never_finishes_is_left_at_the_deadline(
    example: Example, how: str, where: str
) -> None:
    setattr(example.server.faults, how, where)
    started = time.monotonic()
    found = example.look(seconds=0.5)
    # The server itself would give up after 20 s.
    assert time.monotonic() - started < 10
    assert found.state == "unreachable"
    assert "0.5 s" in found.detail


def test_a_tls_handshake_that_never_comes_is_left_at_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        found = look(
            Registry("mute", f"https://127.0.0.1:{listener.getsockname()[1]}", "infra-ci"),
            "abc",
            credentials=NOBODY,
            deadline_seconds=0.5,
        )
    assert found.state == "unreachable"
    assert "0.5 s" in found.detail


def test_all_registries_are_looked_at_at_the_same_time_and_each_has_its_own_deadline(
    example: Example, elsewhere: RegistryServer
) -> None:
    elsewhere.faults.hang = "/v2/"
    silent = [Registry(f"silent-{number}", elsewhere.url, "infra-ci") for number in range(16)]
    started = time.monotonic()
    found = look_all([*silent, example.settings], "abc", credentials=NOBODY, deadline_seconds=1.0)
    # One after the other would take 16 s.
    assert time.monotonic() - started < 10
    assert [each.state for each in found] == ["unreachable"] * 16 + ["serves"]
    assert look_all([], "abc", credentials=NOBODY) == ()


def test_a_private_ca_is_trusted_only_where_it_is_named(tmp_path: Path) -> None:
    ca, context = make_authority(tmp_path)
    with RegistryServer(tls=context) as server:
        example = fill(server)
        assert example.look(ca=ca).state == "serves"
        stranger = example.look()
        assert stranger.state == "not trusted"
        assert "certificate" in stranger.detail
        misnamed = look(
            Registry("misnamed", f"https://localhost:{server.port}", "infra-ci", ca),
            "abc",
            credentials=NOBODY,
            deadline_seconds=2,
        )
        assert misnamed.state == "not trusted"
        assert "certificate" in misnamed.detail
        assert "CA file" in example.look(ca=tmp_path / "missing.pem").detail


def test_a_tls_server_is_bounded_by_the_deadline_too(tmp_path: Path) -> None:
    ca, context = make_authority(tmp_path)
    with RegistryServer(tls=context) as server:
        example = fill(server)
        server.faults.drip = "manifests/abc"
        started = time.monotonic()
        found = example.look(ca=ca, seconds=0.5)
        # The server itself would give up after 20 s.
        assert time.monotonic() - started < 10
        assert found.state == "unreachable"
        assert "0.5 s" in found.detail


def test_a_registry_that_wants_a_login_refuses_nobody_and_a_wrong_one(example: Example) -> None:
    example.server.faults.login = "ci:s3cret:with colon"
    nobody = example.look()
    assert nobody.state == "refuses"
    assert f"no login for {example.server.host}" in nobody.detail
    wrong = example.look(credentials=example.login(password="wr0ng"))
    assert wrong.state == "refuses"
    assert "wr0ng" not in wrong.detail
    assert example.look(credentials=example.login()).state == "serves"
    assert example.image_id().state == "refuses"
    assert example.image_id(credentials=example.login()).state == "serves"


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("where", ["manifests/abc", "blobs/"])
def test_a_refusal_at_any_point_is_a_refusal(example: Example, where: str, status: int) -> None:
    example.server.faults.status[where] = status
    assert example.look().state == "refuses"


def test_a_token_is_asked_for_once_and_with_the_scope_of_a_pull(example: Example) -> None:
    example.server.faults.bearer = (
        f'Bearer realm="{example.server.url}/token",service="the, \\"registry\\"",scope="*"'
    )
    assert example.look().state == "serves"
    (request,) = example.server.asked("GET", "/token")
    assert request.path == "/token?scope=repository%3Ainfra-ci%3Apull&service=the%2C+%22registry%22"
    assert "Authorization" not in request.headers


def test_the_login_is_sent_to_the_token_service_and_the_token_to_the_registry(
    example: Example, elsewhere: RegistryServer
) -> None:
    example.server.faults.bearer = (
        f'Negotiate abc==, Basic realm="x", Bearer realm="{elsewhere.url}/token",service=registry'
    )
    elsewhere.faults.token_login = "ci:s3cret:with colon"
    assert example.look(credentials=example.login()).state == "serves"
    assert len(elsewhere.requests) == 1
    assert not [
        request
        for request in example.server.requests
        if request.headers.get("Authorization", "").startswith("Basic")
    ]
    refused = example.look()
    assert refused.state == "refuses"
    assert "token service" in refused.detail


def test_an_identity_token_is_exchanged_for_a_token(example: Example) -> None:
    example.server.faults.bearer = f'Bearer realm="{example.server.url}/token",service="registry"'
    example.server.faults.refresh_token = "refresh-me"
    credentials = Credentials(
        "auth.json", {example.server.host: Login(identity_token="refresh-me")}
    )
    assert example.look(credentials=credentials).state == "serves"
    wrong = example.look(
        credentials=Credentials("auth.json", {example.server.host: Login(identity_token="stale")})
    )
    assert wrong.state == "refuses"
    assert "stale" not in wrong.detail


@pytest.mark.parametrize(
    "realm", ["http://127.0.0.1:{port}/token", "", "file:///etc/passwd", "https:///x"]
)
def test_no_login_goes_to_a_token_service_in_the_clear_where_the_registry_has_tls(
    tmp_path: Path, elsewhere: RegistryServer, realm: str
) -> None:
    ca, context = make_authority(tmp_path)
    with RegistryServer(tls=context) as server:
        example = fill(server)
        server.faults.bearer = f'Bearer realm="{realm.format(port=elsewhere.port)}"'
        assert example.look(credentials=example.login(), ca=ca).state in ("refuses", "unreachable")
    assert elsewhere.requests == []


@pytest.mark.parametrize(
    ("status", "state"), [(500, "unreachable"), (404, "unreachable"), (403, "refuses")]
)
def test_a_token_service_that_fails_is_reported_apart_from_one_that_refuses(
    example: Example, status: int, state: str
) -> None:
    example.server.faults.bearer = f'Bearer realm="{example.server.url}/token"'
    example.server.faults.status["/token"] = status
    found = example.look()
    assert found.state == state
    assert "token service" in found.detail


def test_blobs_elsewhere_are_followed_without_the_login(
    example: Example, elsewhere: RegistryServer
) -> None:
    elsewhere.store = example.server.store
    example.server.faults.login = "ci:s3cret:with colon"
    example.server.faults.redirect = ("/blobs/", elsewhere.url)
    assert example.look(credentials=example.login()).state == "serves"
    assert elsewhere.asked("GET", "/blobs/")
    assert not [request for request in elsewhere.requests if "Authorization" in request.headers]
    assert {request.headers["Host"] for request in elsewhere.requests} == {elsewhere.host}


def test_a_challenge_from_where_a_redirect_leads_gets_no_login(
    example: Example, elsewhere: RegistryServer
) -> None:
    elsewhere.faults.login = "ci:s3cret:with colon"
    example.server.faults.redirect = ("/blobs/", elsewhere.url)
    found = example.look(credentials=example.login())
    assert found.state == "refuses"
    assert elsewhere.host in found.detail
    assert not [request for request in elsewhere.requests if "Authorization" in request.headers]


def test_where_a_redirect_leads_names_no_token_service_for_our_login(
    example: Example, elsewhere: RegistryServer
) -> None:
    elsewhere.faults.bearer = f'Bearer realm="{elsewhere.url}/token"'
    example.server.faults.redirect = ("/blobs/", elsewhere.url)
    assert example.look(credentials=example.login()).state == "refuses"
    assert not elsewhere.asked("GET", "/token")


def test_the_first_question_redirected_elsewhere_gives_no_login_away(
    example: Example, elsewhere: RegistryServer
) -> None:
    elsewhere.faults.bearer = f'Bearer realm="{elsewhere.url}/token"'
    example.server.faults.redirect = ("/v2/", elsewhere.url)
    found = example.look(credentials=example.login())
    assert (found.state, elsewhere.asked("GET", "/token")) == ("unreachable", [])
    assert "what answers there is no registry: HTTP 401" in found.detail


def test_a_redirect_without_end_is_given_up(example: Example) -> None:
    example.server.faults.redirect = ("manifests/", example.server.url)
    found = example.look()
    assert found.state == "unreachable"
    assert len(example.server.asked("HEAD", "manifests/")) == MAX_REDIRECTS + 1


@pytest.mark.parametrize(
    "target",
    ["ftp://127.0.0.1", "http://127.0.0.1:99999", "http://[::1", "http://" + "a" * 300, "//"],
)
def test_a_redirect_to_nonsense_is_no_bug(example: Example, target: str) -> None:
    example.server.faults.redirect = ("manifests/", target)
    assert example.look(seconds=2).state == "unreachable"


def test_a_login_page_in_front_is_no_registry(example: Example, elsewhere: RegistryServer) -> None:
    example.server.faults.redirect = ("/v2/", f"http://localhost:{elsewhere.port}/login")
    elsewhere.faults.status["/login"] = 200
    found = example.look()
    assert found.state == "unreachable"
    assert "no registry" in found.detail


def test_the_image_id_of_a_reference_is_the_digest_of_its_configuration(example: Example) -> None:
    store = example.server.store

    def expected(manifest: str, *, digest: str) -> ImageId:
        configuration = store.config_of(manifest)
        blobs = {configuration, *store.layers_of(manifest)}
        size_bytes = sum(len(store.blobs[blob]) for blob in blobs)
        return ImageId(State.SERVES, configuration, digest=digest, size_bytes=size_bytes)

    assert example.image_id() == expected(example.amd64, digest=example.index)
    arm64 = example.image_id(platform="linux/arm64")
    assert arm64 == expected(example.arm64, digest=example.index)
    assert example.image_id(platform="linux/s390x").state == "broken"
    store.tags["single"] = example.amd64
    assert example.image_id(tag="single") == expected(example.amd64, digest=example.amd64)
    assert not example.server.asked("HEAD", "/blobs/"), "the image ID needs no blob"


def test_a_reference_of_this_machine_needs_no_configured_registry(example: Example) -> None:
    reported = image_id(
        f"{example.server.host}/infra-ci:abc", [], platform="linux/amd64", credentials=NOBODY
    )
    assert reported.image_id == example.server.store.config_of(example.amd64)


def test_a_companion_of_a_configured_registry_is_asked_there_under_its_own_repository(
    tmp_path: Path,
) -> None:
    ca, context = make_authority(tmp_path)
    with RegistryServer(repository="plugins/git", tls=context) as server:
        example = fill(server)
        reported = image_id(
            f"{server.host}/plugins/git:abc",
            [Registry("forgejo", server.url, "infra-ci", ca)],
            platform="linux/amd64",
            credentials=NOBODY,
        )
        assert reported.image_id == server.store.config_of(example.amd64)


def _write_auth(path: Path, document: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_logins_are_read_in_every_form_that_docker_and_podman_write(tmp_path: Path) -> None:
    _write_auth(
        tmp_path / ".docker" / "config.json",
        {
            "auths": {
                "https://index.docker.io/v1/": {"auth": _encoded("hub:pass")},
                "forgejo.viktorbarzin.me": {"username": "ci", "password": "plain"},
                "registry.viktorbarzin.me:5050": {"auth": _encoded("ci:with:colons\0\0")},
                "registry.viktorbarzin.me:5050/viktor": {"auth": _encoded("narrow:er")},
                "https://token.example": {"auth": _encoded("<token>:"), "identitytoken": "refresh"},
                "empty.example": {},
                "odd.example": {"auth": "!!!"},
                "null.example": None,
            },
            "credHelpers": {"helped.example": "pass"},
        },
    )
    credentials = read_credentials({}, tmp_path)
    assert credentials.find("registry-1.docker.io", "library/debian") == Login("hub", "pass")
    assert credentials.find("forgejo.viktorbarzin.me", "viktor/infra-ci") == Login("ci", "plain")
    assert credentials.find("registry.viktorbarzin.me:5050", "infra-ci") == Login(
        "ci", "with:colons"
    )
    assert credentials.find("registry.viktorbarzin.me:5050", "viktor/infra-ci") == Login(
        "narrow", "er"
    )
    assert credentials.find("token.example", "x") == Login("<token>", "", "refresh")
    assert credentials.find("empty.example", "x") is None
    assert "malformed" in credentials.explain("odd.example")
    assert "docker-credential-pass" in credentials.explain("helped.example")
    assert "no login for other.example" in credentials.explain("other.example")


def test_a_helper_that_is_not_run_is_named_when_the_registry_refuses(
    example: Example, tmp_path: Path
) -> None:
    example.server.faults.login = "ci:secret"
    _write_auth(
        tmp_path / "auth.json", {"auths": {example.server.host: {}}, "credsStore": "desktop"}
    )
    found = example.look(
        credentials=read_credentials({"REGISTRY_AUTH_FILE": str(tmp_path / "auth.json")}, tmp_path)
    )
    assert found.state == "refuses"
    assert "docker-credential-desktop" in found.detail


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"auths": 3}', '{"auths": {"a": 3}, "credHelpers": []}', '"text"']
)
def test_a_file_of_logins_that_is_none_is_an_excuse_and_never_a_bug(
    tmp_path: Path, content: str
) -> None:
    (tmp_path / "auth.json").write_text(content)
    assert "auth.json" in read_credentials(
        {"REGISTRY_AUTH_FILE": str(tmp_path / "auth.json")}, tmp_path
    ).explain("a")
    assert "cannot be read" in read_credentials({}, tmp_path / "absent").explain("a")


def test_no_secret_is_in_the_text_of_credentials() -> None:
    assert "s3cret" not in repr(
        Credentials("file", {"host": Login("ci", "s3cret", "s3cret")})
    ) + repr(Login("ci", "s3cret", "s3cret"))


@given(st.lists(st.text(max_size=60), max_size=3))
def test_no_challenge_is_a_bug(headers: list[str]) -> None:
    challenges_of(headers)


@given(st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), max_size=40))
def test_a_quoted_value_is_read_as_it_was_meant(value: str) -> None:
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')
    assert challenges_of([f'Basic realm="a, b", Bearer realm="{quoted}", service=x']) == {
        "basic": {"realm": "a, b"},
        "bearer": {"realm": value, "service": "x"},
    }
