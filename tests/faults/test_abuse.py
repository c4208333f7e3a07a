"""Faults 29, 31, 34, 35, 41, 43–45, 48, 53, 59: requests that try what they should not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
from callers import ANTHROPIC, DIALECTS, KEY, OLLAMA, OPENAI, Caller, Dialect, ask, http, peer, plain_settings, refused

from genai_spine.gateway.app import ROUTES
from genai_spine.testing.fixtures import RunningGateway, running_gateway
from genai_spine.testing.simulator import Simulator

each_dialect = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)


def shape_of(path: str) -> Dialect:
    if path.startswith("/v1/messages"):
        return ANTHROPIC
    return OLLAMA if path.startswith("/api/") else OPENAI


def check_refused(path: str, method: str, answer: Any, status: int) -> str:
    """The message of the error, in the shape of the path's dialect."""
    if path.startswith("/v1beta/") or (path.startswith("/v1/models/") and method == "POST"):
        error = json.loads(answer.body)["error"]
        assert answer.status == error["code"] == status
    else:
        error = refused(shape_of(path), answer, status)
    message: str = error["message"]
    return message


# ── 41: methods and paths ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_fault_41_other_methods_are_405_and_say_which_are_taken(gateway: RunningGateway, route: Any) -> None:
    path = route.path + (f"some/model{route.sign}" if route.path.endswith("/") and route.path != "/" else "")
    taken = {each.method for each in ROUTES if each.path == route.path}
    if "GET" in taken:
        taken.add("HEAD")
    for method in {"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"} - taken:
        answer = ask(gateway, path, method=method)
        assert answer.status == 405, method
        assert answer.header("allow") == ", ".join(sorted(taken))
        if method != "HEAD":
            check_refused(path, method, answer, 405)


@pytest.mark.parametrize(
    "path", ["/", "/v1/models", "/api/tags", "/api/version", "/health/live", "/health/ready", "/v1/providers"]
)
def test_fault_41_head_is_get_without_a_body(gateway: RunningGateway, path: str) -> None:
    got, head = ask(gateway, path), ask(gateway, path, method="HEAD")
    assert got.status == head.status == 200
    assert head.body == b""
    assert head.header("content-type") == got.header("content-type")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/chat/completions/", "//v1/chat/completions", "/v1//chat/completions", "/V1/chat/completions",
        "/v1/../v1/chat/completions", "/v1/%2e%2e/v1/chat/completions", "/v1/chat%2Fcompletions%00",
        "/v1/chat/completions;x", "/v1/messages/", "/v1/messages/other", "/api", "/api/", "/api/pull",
        "/api/delete", "/v1", "/v1/models/", "/admin", "/.env", "/%ff", "/v1/responses/x", "*",
        "/v1/chat/completions%0d%0aset-cookie:%20a=1", "/" + "a" * 8000,
    ],
)  # fmt: skip
def test_fault_41_a_path_that_is_none_is_404(simulator: Simulator, gateway: RunningGateway, path: str) -> None:
    for method, body in (("POST", OPENAI.request("oa/sim-x")), ("GET", None)):
        answer = ask(gateway, path, body, method=method)
        assert len(check_refused(path, method, answer, 404)) < 500
        assert answer.header("set-cookie") is None
    assert not simulator.received


def test_fault_41_the_path_that_is_routed_is_the_one_that_is_guarded(simulator: Simulator) -> None:
    guarded: dict[str, Any] = {**plain_settings(simulator), "server": {"api_keys": ["caller-key-0123456789"]}}
    with running_gateway(guarded) as gateway:
        for path in (
            "/v1/chat/completions", "/%76%31/chat/completions", "/v1/chat/completions?x=/health/live",
            "http://gateway/v1/chat/completions", "http://gateway/v1/chat/completions#/health/live",
            "/v1/chat/completions#/health/live",
        ):  # fmt: skip
            answer = ask(gateway, path, OPENAI.request("oa/sim-x"))
            assert answer.status == 401, path
        for path in ("/health/live/../../v1/models", "/health/live%2f..%2f..%2fv1%2fmodels", "//health/live"):
            assert ask(gateway, path).status == 404
        assert not simulator.received


def test_queries_do_not_matter(gateway: RunningGateway) -> None:
    answer = ask(gateway, "/v1/messages?beta=true", ANTHROPIC.request("an/sim-x"))
    assert answer.status == 200


# ── 29, 31, 34, 35, 48: what the server refuses, with a gateway behind it ─────────────────────────


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"POST /v1/messages HTTP/1.1\r\nhost: a/b\r\ncontent-length: 2\r\n\r\n{}", 400),
        (b"POST /v1/messages HTTP/1.1\r\nhost: a@b\r\ncontent-length: 2\r\n\r\n{}", 400),
        (b"POST /v1/messages HTTP/1.1\r\nhost: a?b\r\ncontent-length: 2\r\n\r\n{}", 400),
        (b"POST /v1/messages HTTP/1.1\r\nhost: a\r\nhost: b\r\ncontent-length: 2\r\n\r\n{}", 400),
        (b"POST /v1/messages HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}", 400),
        (b"POST /v1/messages HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n", 400),
        (b"POST /v1/messages HTTP/1.1\r\nhost: a\r\nx-api-key : k\r\ncontent-length: 2\r\n\r\n{}", 400),
        (b"POST /v1/messages HTTP/1.1\r\nhost: a\r\nx: 1\r\n folded\r\ncontent-length: 2\r\n\r\n{}", 400),
        (b"GET /v1/models HTTP/1.1\r\nhost: a\r\nx: " + b"y" * 200_000 + b"\r\n\r\n", 431),
        (b"GET /v1/models HTTP/1.1\r\nhost: a\r\n" + b"x: y\r\n" * 5000 + b"\r\n", 431),
    ],
)
def test_fault_35_and_48_a_request_in_two_readings_reaches_no_provider(
    simulator: Simulator, gateway: RunningGateway, head: bytes, status: int
) -> None:
    with Caller(gateway) as caller:
        caller.sock.sendall(head)
        answer = caller.answer()
        assert answer.status == status
        assert answer.is_closed
        assert "error" in answer.json()
    assert not simulator.received
    assert ask(gateway, "/health/live").status == 200


def test_fault_29_and_31_idle_and_dribbling_connections_leave_room_for_others(simulator: Simulator) -> None:
    few: dict[str, Any] = {
        **plain_settings(simulator),
        "server": {"max_connections": 8, "header_timeout": "300ms", "idle_timeout": "300ms"},
    }
    with running_gateway(few) as gateway:
        idle = [Caller(gateway) for _ in range(8)]
        for number, caller in enumerate(idle):
            caller.sock.sendall(b"POST /v1/messages HTTP/1.1\r\nhost:" if number % 2 else b"")
        for caller in idle:  # closed by the clock
            while caller.more():
                pass
        assert ask(gateway, OPENAI.path, OPENAI.request("oa/sim-x")).status == 200


# ── 53: keys ──────────────────────────────────────────────────────────────────────────────────────

GOOD, HASHED = "caller-key-0123456789", "another-key-0123456789"


@pytest.fixture(scope="module")
def guarded(_simulator: Simulator) -> Iterator[RunningGateway]:
    keys = [GOOD, "sha256:" + hashlib.sha256(HASHED.encode()).hexdigest()]
    settings: dict[str, Any] = {**plain_settings(_simulator), "server": {"api_keys": keys}}
    with running_gateway(settings) as gateway:
        yield gateway


@each_dialect
@pytest.mark.parametrize("key", [GOOD, HASHED])
def test_every_form_of_a_key_is_taken(guarded: RunningGateway, dialect: Dialect, key: str) -> None:
    for headers in (
        {"authorization": f"Bearer {key}"},
        {"authorization": f"bearer  {key}"},
        {"Authorization": f"BEARER {key}"},
        {"x-api-key": key},
        {"x-goog-api-key": key},
        {"authorization": "Basic x", "x-api-key": key},
    ):
        body = dialect.request(f"{dialect.provider}/sim-x")
        assert ask(guarded, dialect.path, body, headers).status == 200, headers


@each_dialect
def test_fault_53_a_wrong_a_missing_and_an_odd_key_are_refused_in_the_same_words(
    guarded: RunningGateway, dialect: Dialect, simulator: Simulator
) -> None:
    digest = hashlib.sha256(HASHED.encode()).hexdigest()
    said = set()
    for headers in (
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": "Bearer "},
        {"authorization": "Bearer"},
        {"authorization": GOOD},
        {"authorization": f"Basic {GOOD}"},
        {"authorization": f"Bearer {GOOD}x"},
        {"authorization": f"Bearer {GOOD[:-1]}"},
        {"authorization": f"Bearer {GOOD.upper()}"},
        {"authorization": f"Bearer {GOOD} {GOOD}"},
        {"authorization": "Bearer ' OR 1=1 --"},
        {"authorization": "Bearer \xff\xfe"},
        {"x-api-key": ""},
        {"x-api-key": digest},
        {"x-api-key": f"sha256:{digest}"},
        {"x-api-key": "wrong", "x-goog-api-key": GOOD},
        {"authorization": "Bearer wrong", "x-api-key": GOOD},
        {"cookie": f"key={GOOD}"},
    ):
        for path in (dialect.path, dialect.path + "?key=" + GOOD):
            error = refused(dialect, ask(guarded, path, dialect.request("m"), headers), 401)
            said.add((error["message"], error["type"], error["code"]))
    assert len(said) == 1
    assert GOOD not in str(said)
    assert not simulator.received


def test_fault_53_the_key_is_asked_for_before_the_body_is_read(guarded: RunningGateway) -> None:
    with Caller(guarded) as caller:
        caller.send("POST", OPENAI.path, headers={"content-length": "1000000"})
        answer = caller.answer()
    assert answer.status == 401
    assert answer.is_closed, "a body that nobody reads would be read as the next request"


def test_every_path_but_health_and_the_front_door_needs_the_key(guarded: RunningGateway) -> None:
    for route in ROUTES:
        path = route.path + (f"x{route.sign}" if route.path.endswith("/") and route.path != "/" else "")
        status = ask(guarded, path, {} if route.method == "POST" else None, method=route.method).status
        is_open = path in ("/health/live", "/health/ready", "/")
        assert (status == 200) if is_open else (status == 401), path
    assert ask(guarded, "/", method="HEAD").status == 200
    assert ask(guarded, "/v1/models", method="HEAD").status == 401
    # LiteLLM asks for `name`, and without its key.
    assert ask(guarded, "/api/show", {"name": "ol/sim-x"}).status == 401


# ── 59: web pages ─────────────────────────────────────────────────────────────────────────────────

PAGE = {"origin": "https://evil.example", "content-type": "text/plain"}


def test_fault_59_no_page_may_read_answers_unless_it_is_named(gateway: RunningGateway) -> None:
    for origin in ("https://evil.example", "http://localhost:3000"):
        answer = ask(gateway, "/v1/models", headers={"origin": origin})
        assert not [name for name, _ in answer.headers if name.startswith("access-control")]
        preflight = ask(gateway, OPENAI.path, headers={"origin": origin}, method="OPTIONS")
        assert preflight.status == 405
        assert not [name for name, _ in preflight.headers if name.startswith("access-control")]


@each_dialect
def test_fault_59_without_keys_a_foreign_page_cannot_spend_anything(
    simulator: Simulator, gateway: RunningGateway, dialect: Dialect
) -> None:
    body = dialect.request(f"{dialect.provider}/sim-x")
    for origin in ("https://evil.example", "null", "http://evil.example:8100", "file://", "http://127.0.0.1.evil"):
        refused(dialect, ask(gateway, dialect.path, body, {**PAGE, "origin": origin}), 403)
    assert not simulator.received
    for origin in ("http://localhost:3000", "http://127.0.0.1:5173", "http://[::1]:80", "vscode-webview://x"):
        assert ask(gateway, dialect.path, body, {**PAGE, "origin": origin}).status == 200


@pytest.mark.parametrize("host", ["evil.example.com:8100", "evil.example.com", "EVIL.COM.", "127.0.0.1.evil.example"])
def test_fault_59_a_name_bound_anew_to_a_gateway_without_keys_reaches_nothing(
    simulator: Simulator, gateway: RunningGateway, host: str
) -> None:
    for path, body in (("/v1/requests", None), ("/v1/models", None), (OPENAI.path, OPENAI.request("oa/sim-x"))):
        error = refused(OPENAI, ask(gateway, path, body, {"host": host}), 403)
        assert error["code"] == "host_not_allowed"
        assert "server.api_keys" in error["message"] and "server.cors" in error["message"]
    assert not simulator.received
    assert ask(gateway, "/health/live", headers={"host": host}).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "localhost:8100", "127.0.0.1:8100", "[::1]:8100", "192.168.1.7", "gateway", "", "host.docker.internal:8100",
        "spine.localhost", "mac.local", "box.lan", "box.home.arpa", "LOCALHOST.",
    ],
)  # fmt: skip
def test_names_that_nobody_can_buy_reach_a_gateway_without_keys(gateway: RunningGateway, host: str) -> None:
    assert ask(gateway, "/v1/models", headers={"host": host}).status == 200


def test_a_gateway_with_keys_or_with_the_name_in_cors_answers_to_it(simulator: Simulator) -> None:
    for server in ({"api_keys": ["gw-key-0123456789"]}, {"cors": ["https://llm.example.com"]}):
        with running_gateway({**plain_settings(simulator), "server": server}) as gateway:
            headers = {"host": "llm.example.com", "authorization": "Bearer gw-key-0123456789"}
            assert ask(gateway, "/v1/models", headers=headers).status == 200


def test_fault_59_pages_that_are_named_may_call_and_never_with_credentials(simulator: Simulator) -> None:
    settings: dict[str, Any] = {**plain_settings(simulator), "server": {"cors": ["https://app.example"]}}
    with running_gateway(settings) as gateway:
        asking = {
            "origin": "https://app.example",
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization, x-stainless-os",
        }
        preflight = ask(gateway, OPENAI.path, headers=asking, method="OPTIONS")
        assert preflight.status == 204
        assert preflight.header("access-control-allow-origin") == "https://app.example"
        assert preflight.header("access-control-allow-headers") == "authorization, x-stainless-os"
        assert "POST" in (preflight.header("access-control-allow-methods") or "")
        deleting = {**asking, "access-control-request-method": "DELETE"}
        preflight = ask(gateway, "/v1/streams/x", headers=deleting, method="OPTIONS")
        assert "DELETE" in (preflight.header("access-control-allow-methods") or "")
        exposed = (preflight.header("access-control-expose-headers") or "").split(", ")
        assert {"x-spine-cache", "idempotent-replayed", "x-ratelimit-remaining-tokens"} <= set(exposed)
        for dialect in DIALECTS:
            for model, status in (("sim-x", 200), ("m+status=503", 503)):
                for stream in (False, True):
                    request = dialect.request(f"{dialect.provider}/{model}", stream=stream)
                    answer = ask(gateway, dialect.path, request, {"origin": "https://app.example"})
                    assert answer.status == status
                    assert answer.header("access-control-allow-origin") == "https://app.example"
                    assert answer.header("vary") == "origin"
                    assert answer.header("access-control-allow-credentials") is None
        foreign = {**asking, "origin": "https://evil.example"}
        refused_one = ask(gateway, OPENAI.path, headers=foreign, method="OPTIONS")
        assert refused_one.header("access-control-allow-origin") is None
        assert ask(gateway, OPENAI.path, OPENAI.request("oa/sim-x"), PAGE).status == 403


# ── 43, 44: headers ───────────────────────────────────────────────────────────────────────────────

NASTY = "a\r\nx-evil: 1\r\n\r\nGET /evil HTTP/1.1\x00\x1b[31m"


@each_dialect
@pytest.mark.parametrize("provider", ["oa", "an", "ol"])
def test_fault_43_control_characters_reach_neither_headers_nor_logs(
    simulator: Simulator,
    gateway: RunningGateway,
    dialect: Dialect,
    provider: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level("DEBUG"):
        for body in (
            dialect.request(f"{provider}/{NASTY}"),
            dialect.request(f"{NASTY}"),
            dialect.request(f"{NASTY}/m"),
            dialect.request(f"{provider}/sim-x", user=NASTY),
            dialect.request(f"{provider}/sim-x", metadata={"user_id": NASTY, NASTY: NASTY}),
            dialect.request(f"{provider}/sim-x", provider=NASTY),
            dialect.request(f"{provider}/{NASTY}", stream=True),
        ):
            answer = ask(gateway, dialect.path, body)
            assert answer.status in (200, 400, 404), answer
            assert answer.header("x-evil") is None
    for request in simulator.received:
        names = {name for name, _ in request.headers}
        assert b"x-evil" not in names
        assert request.path != "/evil"
        assert all(value.isascii() and value.decode().isprintable() for _, value in request.headers)
    for entry in caplog.records:
        if entry.name.startswith("genai_spine"):
            assert entry.getMessage().isprintable(), entry.getMessage()


SENT = {
    "authorization": "Bearer callers-own-key",
    "x-api-key": "callers-own-key",
    "x-goog-api-key": "callers-own-key",
    "cookie": "session=callers-own-key",
    "x-forwarded-for": "10.0.0.1",
    "x-forwarded-host": "evil.example",
    "forwarded": "for=10.0.0.1",
    "via": "1.1 evil",
    "te": "trailers",
    "proxy-authorization": "Basic callers-own-key",
    "x-real-ip": "10.0.0.1",
    "referer": "https://evil.example/callers-own-key",
    "x-stainless-os": "Linux",
    "x-claude-code-session-id": "callers-own-key",
    "accept-encoding": "gzip, br",
    "user-agent": "caller/1",
    "x-simulate": "status=418",
    "connection": "x-hop, keep-alive",
    "x-hop": "1",
}


@each_dialect
@pytest.mark.parametrize("provider", ["oa", "an", "ol"])
def test_fault_44_only_listed_headers_go_on_to_a_provider(
    simulator: Simulator, gateway: RunningGateway, dialect: Dialect, provider: str
) -> None:
    for path, body in (
        (dialect.path, dialect.request(f"{provider}/sim-x")),
        ("/v1/embeddings", {"model": f"{provider}/sim-x", "input": "x"}),
        ("/v1/messages/count_tokens", ANTHROPIC.request(f"{provider}/sim-x")),
    ):
        ask(gateway, path, body, SENT)
    assert simulator.received
    for request in simulator.received:
        names = {name.decode() for name, _ in request.headers}
        allowed = {"host", "content-type", "content-length", "user-agent", "authorization", "x-api-key"}
        allowed.add("x-spine-hop")  # ours: so that a gateway does not ask itself
        assert names <= allowed | {"anthropic-version", "accept", "accept-encoding"}, names
        assert b"callers-own-key" not in b"".join(value for _, value in request.headers)
        assert request.header("x-simulate") is None
        assert KEY in (request.header("authorization") or request.header("x-api-key") or "")


def test_fault_44_anthropics_version_is_forwarded_and_betas_are_merged(simulator: Simulator) -> None:
    settings: dict[str, Any] = plain_settings(simulator)
    settings["providers"]["an"]["headers"] = {"anthropic-beta": "ours-2026"}
    with running_gateway(settings) as gateway:
        for stream in (False, True):
            with Caller(gateway) as caller:
                body = json.dumps(ANTHROPIC.request("an/sim-x", stream=stream)).encode()
                caller.sock.sendall(
                    b"POST /v1/messages HTTP/1.1\r\nhost: g\r\nanthropic-version: 2026-10-21\r\n"
                    b"anthropic-beta: theirs-1,theirs-2\r\nanthropic-beta: theirs-3\r\n"
                    b"content-length: %d\r\n\r\n%b" % (len(body), body)
                )
                assert caller.answer().status == 200
            request = simulator.received[-1]
            assert request.header("anthropic-version") == "2026-10-21"
            betas = {beta.strip() for beta in (request.header("anthropic-beta") or "").split(",")}
            assert betas == {"ours-2026", "theirs-1", "theirs-2", "theirs-3"}
            assert sum(name == b"anthropic-beta" for name, _ in request.headers) == 1
        ask(gateway, ANTHROPIC.path, ANTHROPIC.request("an/sim-x"))
        assert simulator.received[-1].header("anthropic-version") == "2023-06-01"
        # Not theirs to say to a provider of another dialect.
        ask(gateway, ANTHROPIC.path, ANTHROPIC.request("oa/sim-x"), {"anthropic-beta": "x"})
        assert simulator.received[-1].header("anthropic-beta") is None


def test_fault_44_what_the_operator_set_stands(simulator: Simulator) -> None:
    settings: dict[str, Any] = plain_settings(simulator)
    settings["providers"]["oa"]["headers"] = {"openai-organization": "org-ours", "openai-project": "proj-ours"}
    with running_gateway(settings) as gateway:
        theirs = {"openai-organization": "org-theirs", "openai-project": "proj-theirs", "openai-beta": "x=1"}
        ask(gateway, OPENAI.path, OPENAI.request("oa/sim-x"), theirs)
    request = simulator.received[-1]
    assert request.header("openai-organization") == "org-ours"
    assert request.header("openai-project") == "proj-ours"
    assert request.header("openai-beta") == "x=1"


# ── 45, 46: addresses in requests ─────────────────────────────────────────────────────────────────


@each_dialect
@pytest.mark.parametrize("provider", ["oa", "an", "ol"])
def test_fault_45_no_field_of_a_request_changes_where_it_is_sent(
    simulator: Simulator, gateway: RunningGateway, dialect: Dialect, provider: str
) -> None:
    with peer(http(b"{}")) as elsewhere:
        for field in ("base_url", "api_base", "api_key", "endpoint", "url", "proxy", "custom_llm_provider"):
            body = dialect.request(f"{provider}/sim-x", **{field: elsewhere.url})
            assert ask(gateway, dialect.path, body).status == 200
        for name in (elsewhere.url, f"{elsewhere.url}/v1", f"{provider}@{elsewhere.url}", f"../{provider}"):
            assert ask(gateway, dialect.path, dialect.request("sim-x", provider=name)).status == 404
            assert ask(gateway, dialect.path, dialect.request(f"{name}/sim-x")).status in (404, 200)
        assert elsewhere.accepted == 0
    assert all(request.header("authorization") != elsewhere.url for request in simulator.received)


@each_dialect
@pytest.mark.parametrize("provider", ["oa", "an", "ol"])
def test_fault_46_urls_of_images_are_passed_on_and_never_fetched(
    simulator: Simulator, gateway: RunningGateway, dialect: Dialect, provider: str
) -> None:
    with peer(http(b"image", "image/png")) as watched:
        url = f"{watched.url}/latest/meta-data/image.png"
        if dialect is OPENAI:
            part: Any = {"type": "image_url", "image_url": {"url": url}}
            messages = [{"role": "user", "content": [part]}]
        elif dialect is ANTHROPIC:
            part = {"type": "image", "source": {"type": "url", "url": url}}
            document = {"type": "document", "source": {"type": "url", "url": url}}
            messages = [{"role": "user", "content": [part, document]}]
        else:
            messages = [{"role": "user", "content": "x", "images": [url]}]
        for stream in (False, True):
            body = {**dialect.request(f"{provider}/sim-x", stream=stream), "messages": messages}
            answer = ask(gateway, dialect.path, body)
            if answer.status == 200:
                assert url.encode() in simulator.received[-1].body
            else:
                refused(dialect, answer, 400)
        assert watched.accepted == 0


def test_a_stream_that_its_own_callers_hurry_cut_is_no_verdict_on_the_provider(simulator: Simulator) -> None:
    """Else one key could keep a provider from all the others, with `x-spine-timeout` alone."""
    settings = plain_settings(simulator) | {"breaker": {"min_calls": 3}}
    model = "sim-long-99+rate=20"
    with running_gateway(settings) as gateway:
        for dialect in (OPENAI, ANTHROPIC):  # one of which is relayed, the other translated
            for _ in range(4):
                body = dialect.request(f"oa/{model}", stream=True)
                answer = ask(gateway, dialect.path, body, {"x-spine-timeout": "0.3"})
                assert b"not done within 0." in answer.body
        (found,) = (each for each in ask(gateway, "/v1/providers").json()["data"] if each["id"] == "oa")
    assert [(each["model"], each["breaker"]) for each in found["models"]] == [(model, "closed")]
    assert found["status"]["healthy"]


def test_a_provider_without_a_key_is_passed_over_and_alone_is_500(simulator: Simulator) -> None:
    keyless: dict[str, Any] = {"type": "openai", "base_url": simulator.urls.openai, "model": "m"}
    live: dict[str, Any] = {"type": "ollama", "base_url": simulator.urls.ollama, "model": "m"}
    with running_gateway(
        {"providers": {"default": "keyless", "fallback_order": ["live"], "keyless": keyless, "live": live}}
    ) as gateway:
        for dialect in DIALECTS:
            answer = ask(gateway, dialect.path, dialect.request("keyless/m"))
            assert answer.header("x-spine-provider") == "live"
            answer = ask(gateway, dialect.path, dialect.request("m", provider="keyless"))
            error = refused(dialect, answer, 500)
            assert answer.header("x-should-retry") == "false"
            assert "no API key" in error["message"]


MISMATCHED = b"""{"error": {"message": "OpenAI-Organization header should match organization for API key",
    "type": "invalid_request_error", "param": null, "code": "mismatched_organization"}}"""


@pytest.mark.parametrize("keys", [["sk-1"], ["sk-1", "sk-2"]])
def test_an_account_that_a_caller_chose_is_no_verdict_on_key_and_provider(keys: list[str]) -> None:
    with peer(http(MISMATCHED, status="401 No")) as upstream:
        tree = {
            "providers": {"up": {"type": "openai", "base_url": upstream.url, "api_keys": keys}},
            "breaker": {"min_calls": 3},
            "retry": {"max_retries": 0},
        }
        with running_gateway(tree) as gateway:
            for _ in range(4):
                answer = ask(gateway, OPENAI.path, OPENAI.request("up/m"), {"openai-organization": "org-x"})
                assert answer.status == 401
            (found,) = ask(gateway, "/v1/providers").json()["data"]
    assert found["models"][0]["breaker"] == "closed"
    assert found["status"]["healthy"]
    assert found["keys"] in (None, {"count": 2, "out": 0, "resting": 0})
