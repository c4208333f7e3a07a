"""AWS's signature, with botocore's as the judge: the same request, the same second, the same header."""

from __future__ import annotations

from datetime import UTC, datetime
from unittest.mock import patch
from urllib.parse import quote

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given, settings
from hypothesis import strategies as st

from genai_spine.wire.http import Headers, parse_url
from genai_spine.wire.sigv4 import AwsCredentials, sign

moments = st.datetimes(datetime(2015, 1, 1), datetime(2099, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC))
segments = st.one_of(
    st.sampled_from(["model", "converse", "..", ".", "", "anthropic.claude-v2:1", "arn:aws:bedrock:eu-west-1:1:x/y"]),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=12),
)
paths = st.lists(segments, max_size=5).flatmap(
    lambda parts: st.sampled_from(["", ":", ":~"]).map(
        lambda safe: "/" + "/".join(quote(part, safe=safe) for part in parts)
    )
)
words = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=6)
queries = st.lists(st.tuples(words, st.none() | st.text(max_size=6)), max_size=4).map(
    lambda pairs: "&".join(name if value is None else f"{name}={quote(value, safe='')}" for name, value in pairs)
)
spaced = st.lists(st.sampled_from(["a", "bc", " ", "  ", "\t", "é", '"q  q"', ","]), max_size=7).map("".join)
header_names = st.sampled_from(
    ["Content-Type", "accept", "X-Amz-Meta", "x-custom", "User-Agent", "Expect", "X-Amzn-Trace-Id", "Traceparent"]
)
header_lists = st.dictionaries(header_names, spaced, max_size=5).map(lambda given: tuple(given.items()))
credentials = st.builds(
    AwsCredentials,
    access_key_id=words,
    secret_access_key=st.text(st.characters(codec="utf-8"), min_size=1, max_size=40),
    session_token=st.none() | st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=80),
)


def botocores(
    method: str, url: str, headers: Headers, body: bytes, keys: AwsCredentials, region: str, service: str, now: datetime
) -> dict[str, str]:
    request = AWSRequest(method, url, headers={str(name): str(value) for name, value in headers}, data=body)
    known = Credentials(keys.access_key_id, keys.secret_access_key, keys.session_token)
    with patch("botocore.auth.get_current_datetime", return_value=now):
        SigV4Auth(known, service, region).add_auth(request)
    wanted = ("x-amz-date", "x-amz-security-token", "authorization")
    return {name: request.headers[name] for name in wanted if name in request.headers}


@settings(max_examples=150)
@given(
    st.sampled_from(["GET", "POST", "PUT"]),
    st.sampled_from(["https://bedrock-runtime.us-east-1.amazonaws.com", "http://127.0.0.1:8080", "https://h:443"]),
    paths,
    queries,
    header_lists,
    st.binary(max_size=50),
    credentials,
    st.sampled_from(["us-east-1", "eu-west-1", "us-gov-west-1"]),
    st.sampled_from(["bedrock", "sts"]),
    moments,
)
def test_the_signature_is_botocores(
    method: str,
    host: str,
    path: str,
    query: str,
    headers: Headers,
    body: bytes,
    keys: AwsCredentials,
    region: str,
    service: str,
    now: datetime,
) -> None:
    url = host + path + (f"?{query}" if query else "")
    ours = sign(method, parse_url(url), headers, body, credentials=keys, region=region, service=service, now=now)
    assert dict(ours) == botocores(method, url, headers, body, keys, region, service, now)


NOW = datetime(2026, 11, 21, 14, 0, tzinfo=UTC)
KEYS = AwsCredentials(access_key_id="AKIDEXAMPLE", secret_access_key="wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")


def signature(url: str, headers: Headers = ()) -> str:
    signed = sign("POST", parse_url(url), headers, b"{}", credentials=KEYS, region="r", service="bedrock", now=NOW)
    return str(dict(signed)["authorization"])


def test_the_documented_example_has_the_documented_signature() -> None:
    url = parse_url("https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08")
    headers = (("content-type", "application/x-www-form-urlencoded; charset=utf-8"),)
    at = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)
    signed = sign("GET", url, headers, b"", credentials=KEYS, region="us-east-1", service="iam", now=at)
    assert dict(signed)["authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, "
        "SignedHeaders=content-type;host;x-amz-date, "
        "Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
    )


def test_a_colon_in_the_path_is_signed_as_it_is_sent() -> None:
    host = "https://bedrock-runtime.us-east-1.amazonaws.com/model/"
    assert signature(host + "a.b-v1:0/converse") != signature(host + "a.b-v1%3A0/converse")


def test_a_header_given_twice_is_signed_as_one() -> None:
    url = "https://h/"
    assert signature(url, (("x-a", "1"), ("X-A", "2"))) == signature(url, (("x-a", "1,2"),))


def test_headers_given_as_bytes_are_signed_too() -> None:
    assert signature("https://h/", ((b"x-a", "é".encode()),)) == signature("https://h/", (("x-a", "é"),))


def test_stale_signing_headers_are_replaced() -> None:
    stale = (("x-amz-date", "20000101T000000Z"), ("authorization", "AWS4-HMAC-SHA256 …"))
    assert signature("https://h/", stale) == signature("https://h/")


def test_credentials_are_not_shown() -> None:
    keys = AwsCredentials(access_key_id="AKIA1234567890", secret_access_key="very-secret", session_token="token")
    assert repr(keys) == str(keys) == "AwsCredentials(AKIA…)"


@pytest.mark.parametrize("moment", [datetime.fromisoformat("2026-11-21T15:00:00+01:00"), NOW])
def test_the_time_is_told_in_utc(moment: datetime) -> None:
    signed = sign("GET", parse_url("https://h/"), (), b"", credentials=KEYS, region="r", service="s", now=moment)
    assert dict(signed)["x-amz-date"] == "20261121T140000Z"
