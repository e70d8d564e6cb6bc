"""A source's URI: the CRD's pattern and the parser agree on its form, and what a pattern cannot say has a fault of its own."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import pydantic
import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from clipmodel_contract.source_uri import (
    MAX_LENGTH,
    PATTERN,
    ClaimUri,
    Fault,
    HttpUri,
    SourceUriError,
    parse_source_uri,
)
from clipmodel_operator.api.v1alpha1.spec import Source

CRD = Path(__file__).parents[3] / "crds/clipmodel.dev_clipmodels.yaml"


def fault_of(uri: str) -> Fault | None:
    try:
        parse_source_uri(uri)
    except SourceUriError as error:
        return error.fault
    return None


def is_admitted(uri: str) -> bool:
    """Ask the API's model, whose pattern pydantic compiles with another engine (Rust's) than Python's."""
    try:
        Source(uri=uri, sha256="0" * 64)
    except pydantic.ValidationError:
        return False
    return True


#: Pieces that, put together, come near to URIs of every kind.
pieces = st.sampled_from([
    *["http", "https", "HTTP", "pvc", "ftp", "s3", ":", "/", "//", "://", "pvc://", "https://"],
    *["models.example.com", "claim", "Claim", "-claim", "claim.", "a", "0", "_", "%20", "~"],
    *["@", "user:secret@", ":8443", ":port", ":99999", "[::1]", "[", "]", "?", "?sig=secret", "#part", "&"],
    *[".", "..", "/../", "/./", "model.onnx", " ", "\t", "\n", "\\", "$", "é"],
])  # fmt: skip
tails = st.lists(pieces, max_size=6).map("".join)
beginnings = st.sampled_from(
    ["", "http://", "https://models.example.com/", "http://[::1]:80/", "pvc://", "pvc://claim/"]
)
uris = st.tuples(beginnings, tails).map("".join)
admitted = (uris | st.from_regex(PATTERN, fullmatch=True)).filter(is_admitted)


@given(uris)
@example("https://host/path\n")
@example("pvc://claim/path\n")
@example("http://host/" + "x" * MAX_LENGTH)
def test_pattern_and_parser_agree_on_the_form(uri: str) -> None:
    assert (fault_of(uri) is not Fault.FORM) == is_admitted(uri)


@given(admitted)
def test_what_the_pattern_admits_is_a_source_or_has_a_fault_that_a_pattern_cannot_say(uri: str) -> None:
    match fault_of(uri):
        case None:
            found = parse_source_uri(uri)
            if isinstance(found, HttpUri):
                assert (found.url, uri.startswith("http")) == (uri, True)
                assert urlsplit(uri).hostname
            else:
                assert uri == f"pvc://{found.claim}/{uri.split('/', 3)[3]}"
                assert ".." not in found.path.parts
                assert found.path.parts
        case Fault.CREDENTIALS:
            assert "@" in urlsplit(uri).netloc
        case Fault.ADDRESS:
            assert uri.startswith("http")
        case Fault.FORM:
            pytest.fail("the pattern admits it")
        case Fault.PATH:
            assert uri.startswith("pvc://")
            assert not {*uri.split("/")[3:]} - {"", ".", ".."} or ".." in uri.split("/")


@given(
    st.sampled_from(
        ["https://{}@models.example.com/model.onnx", "http://u:{}@models.example.com:99999/m", "http://{}@:80/m"]
    )
    | st.sampled_from(["https://models.example.com/model.onnx?sig={}", "http://models.example.com/m#{}"]),
    st.text(alphabet="abc:@?#&=%.-", max_size=6).map(lambda text: f"{text}secret"),
)
def test_messages_show_no_credentials_query_or_fragment(form: str, secret: str) -> None:
    try:
        shown = parse_source_uri(form.format(secret)).shown
    except SourceUriError as error:
        shown = str(error)
    if "?" not in secret and "#" not in secret:  # those end the authority: what follows is another part of the URI
        assert "secret" not in shown


@pytest.mark.parametrize(
    ("uri", "fault"),
    [
        ("", Fault.FORM),
        ("model.onnx", Fault.FORM),
        ("ftp://host/model.onnx", Fault.FORM),
        ("http://host", Fault.FORM),
        ("http:///model.onnx", Fault.FORM),
        ("http://[::1/model.onnx", Fault.ADDRESS),
        ("http://host:port/model.onnx", Fault.ADDRESS),
        ("http://host:99999/model.onnx", Fault.ADDRESS),
        ("http://?host/model.onnx", Fault.ADDRESS),
        ("https://user:secret@host/model.onnx", Fault.CREDENTIALS),
        ("pvc://claim", Fault.FORM),
        ("pvc://claim/", Fault.FORM),
        ("pvc:///model.onnx", Fault.FORM),
        ("pvc://../model.onnx", Fault.FORM),
        ("pvc://Claim/model.onnx", Fault.FORM),
        ("pvc://claim//", Fault.PATH),
        ("pvc://claim/.", Fault.PATH),
        ("pvc://claim/../other/model.onnx", Fault.PATH),
        ("pvc://claim/a/../../other/model.onnx", Fault.PATH),
    ],
)
def test_what_names_no_source(uri: str, fault: Fault) -> None:
    assert fault_of(uri) is fault


def test_what_is_read_of_a_uri() -> None:
    found = parse_source_uri("https://host:8443/a/b.onnx?sig=secret#part")
    assert found == HttpUri("https://host:8443/a/b.onnx?sig=secret#part", "https://host:8443/a/b.onnx")
    claim = parse_source_uri("pvc://claim/a/b%20c?d.onnx")
    assert claim == ClaimUri("claim", PurePosixPath("a/b%20c?d.onnx")), "a file's name, as it is"
    assert claim.shown == "pvc://claim/a/b%20c?d.onnx"


def test_an_unknown_kind_is_named() -> None:
    with pytest.raises(SourceUriError, match="of the kind 's3'"):
        parse_source_uri("s3://bucket/model.onnx")


def test_the_crd_says_the_same_pattern() -> None:
    crd = yaml.safe_load(CRD.read_text("utf-8"))
    spec = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    uri = spec["versions"]["items"]["properties"]["source"]["properties"]["uri"]
    assert (uri["pattern"], uri["maxLength"]) == (PATTERN, MAX_LENGTH)
    # Go's regular expressions have no lookaround and no back references.
    assert not re.search(r"\(\?[=!<P]|\\[1-9]", PATTERN)
