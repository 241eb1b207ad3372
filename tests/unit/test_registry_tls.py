"""Certificates are judged as Go judges them: neither stricter nor laxer, with any Python."""

import ssl
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakglass.remote.distribution.certificates import whose
from breakglass.remote.tls import judge_as_go, system_context
from tests.registry_server import RegistryServer, make_authority
from tests.unit.registry_example import fill


def test_the_policy_is_the_same_for_every_context() -> None:
    strict = ssl.create_default_context()
    strict.verify_flags |= ssl.VERIFY_X509_STRICT
    for context in (system_context(), judge_as_go(strict)):
        assert not context.verify_flags & ssl.VERIFY_X509_STRICT
        assert context.verify_flags & ssl.VERIFY_X509_PARTIAL_CHAIN
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.check_hostname
        assert not context.hostname_checks_common_name
        assert context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_a_certificate_of_a_private_ca_without_key_usage_is_trusted(tmp_path: Path) -> None:
    ca, context = make_authority(tmp_path)
    with RegistryServer(tls=context) as server:
        assert fill(server).look(ca=ca).state == "serves"


def test_a_server_whose_own_certificate_is_the_ca_file_is_trusted(tmp_path: Path) -> None:
    _, context = make_authority(tmp_path)
    with RegistryServer(tls=context) as server:
        assert fill(server).look(ca=tmp_path / "server.pem").state == "serves"


def test_a_certificate_with_its_name_in_cn_only_is_not_trusted(tmp_path: Path) -> None:
    ca, context = make_authority(tmp_path, names_in_san=False)
    with RegistryServer(tls=context) as server:
        assert fill(server).look(ca=ca).state == "not trusted"


def test_of_a_certificate_that_is_not_trusted_it_is_said_whose_it_is(tmp_path: Path) -> None:
    _, context = make_authority(tmp_path)
    with RegistryServer(tls=context) as server:
        found = fill(server).look()
    assert found.detail == (
        "its certificate is not trusted: unable to get local issuer certificate; "
        "it is for 127.0.0.1, issued by the CA of the test"
    )


def test_where_a_registry_redirects_to_may_be_what_is_not_trusted(tmp_path: Path) -> None:
    _, context = make_authority(tmp_path)
    with RegistryServer() as server, RegistryServer(tls=context) as elsewhere:
        example = fill(server)
        server.faults.redirect = ("/blobs/", elsewhere.url)
        found = example.look()
    assert found.state == "not trusted"
    assert found.detail.startswith(f"redirected to {elsewhere.host}: its certificate is not")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    directory = tmp_path_factory.mktemp("ca")
    make_authority(directory)
    text = (directory / "server.pem").read_text()
    return ssl.PEM_cert_to_DER_cert(text[: text.index("-----BEGIN PRIVATE")])


def test_what_is_no_certificate_belongs_to_nobody(certificate: bytes) -> None:
    assert whose(certificate) == "for 127.0.0.1, issued by the CA of the test"
    for length in range(len(certificate)):
        assert whose(certificate[:length]) == ""


@given(st.binary(max_size=200))
def test_no_bytes_are_a_bug(content: bytes) -> None:
    whose(content)
    whose(b"\x30\x82" + len(content).to_bytes(2, "big") + content)
