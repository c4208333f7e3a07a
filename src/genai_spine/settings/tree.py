"""What can be set: one strict tree of frozen structs, each key documented beside its type.

The texts in `doc(...)` are what the settings reference, the JSON Schema and `spine config` show: a test
fails when a field has none. Must not know: files, the environment, HTTP.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any, Literal

import msgspec

from genai_spine.catalog.rows import find_row
from genai_spine.model.errors import ErrorType
from genai_spine.settings.alerts import AlertSettings
from genai_spine.settings.budgets import MOST_USD, BudgetMode, BudgetSettings
from genai_spine.settings.cache import CacheSettings
from genai_spine.settings.ledger import ContentLevel, LedgerSettings, OnFailure
from genai_spine.settings.prices import CostSettings, doc
from genai_spine.settings.values import Duration, Secret


class RoutingStrategy(StrEnum):
    """In which order the providers that could answer are asked."""

    LOCAL_FIRST = "local_first"
    COST_OPTIMIZED = "cost_optimized"
    QUALITY = "quality"
    SPEED = "speed"
    ROUND_ROBIN = "round_robin"
    WEIGHTED = "weighted"
    LEAST_BUSY = "least_busy"
    LATENCY = "latency"
    ORDERED = "ordered"


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The gateway that `spine serve` runs."""

    host: Annotated[str, doc("Address to listen on. Any address but loopback needs `api_keys`.")] = "127.0.0.1"
    port: Annotated[int, doc("Port to listen on; 0 picks a free one.", ge=0, le=65535)] = 8100
    workers: Annotated[int, doc("Number of worker processes.", ge=1)] = 1
    api_keys: Annotated[
        list[Secret],
        doc("Keys that callers may use: plain, or `sha256:` and the key's SHA-256 as 64 hex digits."),
    ] = []
    keys: Annotated[dict[str, CallerKeySettings], doc("Named keys with settings of their own, by name.")] = {}
    max_body_mb: Annotated[float, doc("Largest request body, in MB (a million bytes); larger ones get 413.", gt=0)] = 32
    max_header_kb: Annotated[int, doc("Largest request head, in KiB; larger ones get 431.", ge=1)] = 64
    drain_timeout: Annotated[Duration, doc("How long open streams may continue after SIGTERM.")] = Duration(30)
    header_timeout: Annotated[Duration, doc("How long a caller may take to send the request head.", gt=0)] = Duration(
        10
    )
    body_timeout: Annotated[Duration, doc("How long a caller may take to send the request body.", gt=0)] = Duration(60)
    idle_timeout: Annotated[Duration, doc("How long a kept-alive connection may be idle.")] = Duration(75)
    max_connections: Annotated[int, doc("Concurrent connections per worker; more are refused with 503.", ge=1)] = 10_000
    max_connections_per_ip: Annotated[
        int | None,
        doc("Concurrent connections per client address; no limit by default, since a proxy is one address.", ge=1),
    ] = None
    cors: Annotated[list[str], doc("Origins of web pages that may call the gateway; none by default.")] = []
    access_log: Annotated[bool, doc("Log one line per request, without bodies and keys.")] = True
    metrics: Annotated[
        Literal["none", "keyed", "open"],
        doc("Count for `GET /metrics`: `keyed` asks for a key of `api_keys`, if there are keys; `open` does not."),
    ] = "none"

    @property
    def all_keys(self) -> list[Secret]:
        """Those of callers, with names and without."""
        return [*self.api_keys, *(named.key for named in self.keys.values())]


class TimeoutSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long a call to a provider may take."""

    connect: Annotated[Duration, doc("Time to connect, TLS included.", gt=0)] = Duration(10)
    first_token: Annotated[Duration, doc("Time until the first token of a stream, or until a whole answer.", gt=0)] = (
        Duration(120)
    )
    idle: Annotated[Duration, doc("Longest pause within an answer that has begun.", gt=0)] = Duration(60)
    total: Annotated[Duration, doc("Time for the whole call, with all its attempts and waits.", gt=0)] = Duration(600)


class TimeoutOverrides(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Timeouts of one provider or route; what is left out is as in `[timeouts]`."""

    connect: Annotated[Duration | None, doc("As `timeouts.connect`.", gt=0)] = None
    first_token: Annotated[Duration | None, doc("As `timeouts.first_token`.", gt=0)] = None
    idle: Annotated[Duration | None, doc("As `timeouts.idle`.", gt=0)] = None
    total: Annotated[Duration | None, doc("As `timeouts.total`; for a provider: of each attempt.", gt=0)] = None

    def over(self, base: TimeoutSettings) -> TimeoutSettings:
        """`base` with these on top."""
        given = {name: value for name in self.__struct_fields__ if (value := getattr(self, name)) is not None}
        return msgspec.structs.replace(base, **given)


class ModelLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits of one model, beside its provider's."""

    requests_per_min: Annotated[int | None, doc("Requests per minute.", ge=1)] = None
    tokens_per_min: Annotated[int | None, doc("Tokens per minute, input and output together.", ge=1)] = None
    max_concurrency: Annotated[int | None, doc("Concurrent calls.", ge=1)] = None


class CallerKeySettings(ModelLimits, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One caller's key, its limits in place of those of `[limits]`, and what it may use."""

    key: Annotated[Secret, doc("The key, as in `server.api_keys`; `${VARIABLE}` keeps it out of the file.")]
    models: Annotated[
        list[str],
        doc("What it may use: `provider/model`, routes, `agent:NAME`; `*` matches anything. Empty: everything."),
    ] = []
    on_ledger_failure: Annotated[OnFailure | None, doc("As `ledger.on_failure`.")] = None
    content: Annotated[ContentLevel | None, doc("As `ledger.content`; it can keep less than that, never more.")] = None


OnDisconnect = Literal["cancel", "drain"]


class ProviderSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One provider: a row of the catalog, and what is yours about it."""

    type: Annotated[str, doc("The catalog row, or `openai_compatible` with a base_url; defaults to the id.")] = ""
    name: Annotated[str | None, doc("Display name in `spine providers` and `GET /v1/providers`.")] = None
    api_key: Annotated[Secret | None, doc("The key; `${VARIABLE}` keeps it out of the file.")] = None
    api_key_env: Annotated[
        str | None,
        doc("Name of the variable that holds the key; defaults to the service's usual one."),
    ] = None
    api_keys: Annotated[list[Secret], doc("Several keys for one service, used in turn.")] = []
    base_url: Annotated[str | None, doc("The service's address, if it is not the catalog row's.")] = None
    model: Annotated[
        str | None, doc("The model for requests that name none. Aliases: `default_model`, `text_model`.")
    ] = None
    embed_model: Annotated[str | None, doc("The model for embedding requests that name none.")] = None
    models: Annotated[list[str], doc("The models on offer; empty: whatever the service lists.")] = []
    custom_models: Annotated[dict[str, str], doc('Your own names for models: `fast = "gpt-4o-mini"`.')] = {}
    max_tokens: Annotated[int | None, doc("Output limit for requests that set none.", ge=1)] = None
    temperature: Annotated[float | None, doc("Temperature for requests that set none.", ge=0, le=2)] = None
    requests_per_min: Annotated[int | None, doc("The service's limit of requests per minute.", ge=1)] = None
    tokens_per_min: Annotated[int | None, doc("The service's limit of tokens per minute.", ge=1)] = None
    max_concurrency: Annotated[int | None, doc("Concurrent calls.", ge=1)] = None
    limits: Annotated[dict[str, ModelLimits], doc("Limits of individual models, by name.")] = {}
    on_disconnect: Annotated[OnDisconnect | None, doc("As `streams.on_disconnect`, for this provider.")] = None
    org_id: Annotated[str | None, doc("OpenAI's organization.")] = None
    project: Annotated[str | None, doc("The project to bill, if the service has projects.")] = None
    location: Annotated[str | None, doc("Google: the location, such as `us-central1`.")] = None
    credentials_file: Annotated[str | None, doc("Google: JSON file of a service account or another credential.")] = None
    region: Annotated[str | None, doc("AWS: the region, such as `us-east-1`.")] = None
    profile: Annotated[str | None, doc("AWS: the profile in `~/.aws` to use.")] = None
    access_key_id: Annotated[str | None, doc("AWS: an access key; without one, the usual sources are tried.")] = None
    secret_access_key: Annotated[Secret | None, doc("AWS: the access key's secret.")] = None
    session_token: Annotated[Secret | None, doc("AWS: the session token of temporary credentials.")] = None
    resource: Annotated[str | None, doc("Azure: the resource's name, as in `https://<resource>.openai.azure.com`.")] = (
        None
    )
    api_version: Annotated[
        str | None, doc("Azure: a dated API version, such as `2024-10-21`; without one, the v1 API.")
    ] = None
    deployments: Annotated[
        dict[str, str], doc('Azure: deployment by model, where the names differ: `gpt-4o = "our-gpt"`.')
    ] = {}
    tenant_id: Annotated[str | None, doc("Azure: the Entra tenant that issues tokens.")] = None
    client_id: Annotated[str | None, doc("Azure: the application or managed identity that requests tokens.")] = None
    client_secret: Annotated[Secret | None, doc("Azure: the application's secret.")] = None
    keep_alive: Annotated[
        str | float | None, doc("Ollama: how long a model stays loaded, such as `5m`; -1: forever.")
    ] = None
    num_ctx: Annotated[int | None, doc("Ollama: size of the context window.", ge=1)] = None
    num_predict: Annotated[int | None, doc("Ollama: output limit in tokens; -1: none.", ge=-2)] = None
    auto_pull: Annotated[bool, doc("Ollama: pull a missing model at its first request.")] = False
    safety_settings: Annotated[
        Any, doc('Gemini: `HARM_CATEGORY_HARASSMENT = "BLOCK_ONLY_HIGH"`, for requests that set none.')
    ] = None
    timeouts: Annotated[TimeoutOverrides, doc("Timeouts of this provider.")] = TimeoutOverrides()
    headers: Annotated[dict[str, Secret], doc("Headers to send with every request; never shown.")] = {}
    dialect: Annotated[str | None, doc("The wire format to use, if not the row's first.")] = None
    quirks: Annotated[dict[str, Any], doc("Overrides of the row's quirks; see the providers reference.")] = {}
    ca_file: Annotated[str | None, doc("PEM file of the certificate authorities to trust instead of the system's.")] = (
        None
    )
    proxy: Annotated[Secret | None, doc("HTTP proxy for this provider; `none` to ignore HTTPS_PROXY.")] = None
    cost: Annotated[CostSettings | None, doc("Your prices for this provider.")] = None
    auto_cache: Annotated[
        bool, doc("Anthropic, Bedrock: mark long prompts for the provider's cache automatically.")
    ] = False

    def __post_init__(self) -> None:
        """What a program gives as text is kept from being shown as well."""
        put = msgspec.structs.force_setattr
        for name in ("api_key", "secret_access_key", "session_token", "client_secret", "proxy"):
            if isinstance(text := getattr(self, name), str):
                put(self, name, Secret(text))
        put(self, "api_keys", [Secret(key) if isinstance(key, str) else key for key in self.api_keys])
        put(self, "headers", {name: Secret(v) if isinstance(v, str) else v for name, v in self.headers.items()})


class ProvidersSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The providers: three keys of their own, and a table for each provider id."""

    default: Annotated[str | None, doc("The provider for requests that name none.")] = None
    fallback_order: Annotated[list[str], doc("Providers to try, in this order.")] = []
    health_check_interval: Annotated[Duration | None, doc("As `health.interval`.", gt=0)] = None
    by_id: Annotated[
        dict[str, ProviderSettings], doc("One provider; in a file this is the table `[providers.<id>]`.")
    ] = {}

    def __getitem__(self, id: str) -> ProviderSettings:
        return self.by_id[id]

    def __iter__(self) -> Iterator[str]:
        return iter(self.by_id)

    def __contains__(self, id: object) -> bool:
        return id in self.by_id

    def __len__(self) -> int:
        return len(self.by_id)

    def find(self, name: str) -> str | None:
        """The id meant by `name`: an id, or a row's id or alias where one provider alone is of that row."""
        if name in self.by_id:
            return name
        row = find_row(name)
        ids = [id for id, provider in self.by_id.items() if provider.type == (row.id if row else name)]
        return ids[0] if len(ids) == 1 else None


ProviderConfig = ProviderSettings
ProvidersConfig = ProvidersSettings
"""The specifications' names."""


class RoutingSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who is asked when a request names no provider."""

    strategy: Annotated[
        str, doc("How to choose a provider: a built-in strategy, or one from an installed package.")
    ] = RoutingStrategy.LOCAL_FIRST
    local_only: Annotated[bool, doc("Nothing leaves this machine: providers that are not local are never asked.")] = (
        False
    )
    ranking: Annotated[
        list[str], doc("For `quality`: models, best first, in place of the built-in ranking; `*` matches anything.")
    ] = []
    exploration: Annotated[
        float, doc("For `speed`: share of requests sent to the target about which least is known.", ge=0, le=1)
    ] = 0.05
    sticky: Annotated[
        Literal["none", "session", "prefix"],
        doc("What stays with one target: nothing, a session, or also prompts with the same beginning."),
    ] = "none"
    sticky_for: Annotated[Duration, doc("How long after the last request; providers cache a prompt for 5 minutes.")] = (
        Duration(300)
    )
    single_flight: Annotated[bool, doc("Let identical concurrent requests of one caller share one answer.")] = False


OnRefusal = Literal["error", "fallback"]


class RetrySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When the same provider is asked again, and when the next one is."""

    max_retries: Annotated[int, doc("Retries at one provider; 0: none.", ge=0)] = 2
    initial_delay: Annotated[Duration, doc("Wait before the first retry. Also: `retry_delay_ms`.")] = Duration(1)
    max_delay: Annotated[Duration, doc("Longest wait, also for a provider's Retry-After.")] = Duration(30)
    backoff_factor: Annotated[float, doc("Factor from each wait to the next.", ge=1)] = 2.0
    retryable_errors: Annotated[tuple[ErrorType, ...], doc("Kinds of errors that are retried.")] = (
        ErrorType.RATE_LIMIT,
        ErrorType.SERVER_ERROR,
        ErrorType.NETWORK_ERROR,
        ErrorType.TIMEOUT,
    )
    budget: Annotated[float, doc("Retries per request over time, so that retries do not multiply an outage.", ge=0)] = (
        0.2
    )
    enable_fallback: Annotated[bool, doc("Try the next provider when one has failed.")] = True
    on_context_length: Annotated[
        OnRefusal, doc("If a prompt is too long for a model: `fallback` tries the next one that takes more.")
    ] = "error"
    on_content_filter: Annotated[
        OnRefusal, doc("If a provider's safety system refuses: `fallback` tries another provider.")
    ] = "error"


RetryConfig = RetrySettings
"""The specification's name."""


class BreakerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a failing provider is left alone for a while."""

    failure_rate: Annotated[float, doc("Share of failed calls that opens the breaker.", gt=0, le=1)] = 0.5
    min_calls: Annotated[int, doc("Fewest calls before the breaker can open.", ge=1)] = 10
    window: Annotated[Duration, doc("Period over which calls are counted.")] = Duration(30)
    open_for: Annotated[Duration, doc("How long the provider gets no calls before a probe.")] = Duration(30)
    last: Annotated[
        Literal["ask", "refuse"],
        doc("If the breakers of all targets are open: `ask` the first one anyway, or `refuse`."),
    ] = "ask"


class HealthSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether providers are asked how they are."""

    probe: Annotated[Literal["never", "idle", "always"], doc("When to probe, in addition to what traffic shows.")] = (
        "never"
    )
    interval: Annotated[Duration, doc("Time between two probes.", gt=0)] = Duration(300)
    timeout: Annotated[Duration, doc("How long a probe may take.", gt=0)] = Duration(5)
    paid: Annotated[bool, doc("Probe paid services too, by listing their models.")] = False


class StreamSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What happens to a stream that breaks."""

    on_break: Annotated[
        Literal["error", "continue"],
        doc("If a stream breaks: `error` sends an error event, `continue` lets another provider continue it."),
    ] = "error"
    keep_alive: Annotated[
        Duration,
        doc("Send a comment after this long without an event, so that no proxy disconnects; 0: never.", ge=0),
    ] = Duration(15)
    min_tokens_per_s: Annotated[
        float, doc("A stream slower than this over 30 seconds counts as broken; 0: no minimum.", ge=0)
    ] = 0.0
    write_timeout: Annotated[Duration, doc("Drop a stream if its caller reads nothing for this long.", gt=0)] = (
        Duration(60)
    )
    on_disconnect: Annotated[
        OnDisconnect,
        doc("When the caller disconnects: `cancel` the provider's stream, or `drain` it to learn its usage."),
    ] = "cancel"


class HedgeSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A second request where the first is slow to begin."""

    budget: Annotated[float, doc("Share of requests that may be sent to a second target; 0: none.", ge=0, le=1)] = 0.0
    after: Annotated[
        Duration | None,
        doc("When to send the second one; default: once slower than 95 % of the target's recent answers.", gt=0),
    ] = None


class LimitsSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What each caller's key may use, and what a call does that meets a limit, a provider's included."""

    requests_per_min: Annotated[int | None, doc("Requests per minute of one caller's key.", ge=1)] = None
    tokens_per_min: Annotated[int | None, doc("Tokens per minute of one caller's key, in and out.", ge=1)] = None
    max_concurrency: Annotated[int | None, doc("Calls at a time of one caller's key.", ge=1)] = None
    max_wait: Annotated[Duration, doc("How long a call may wait for its turn; 0: refuse it at once.", ge=0)] = Duration(
        0
    )
    max_waiting: Annotated[int, doc("Most calls that may wait for one provider or key.", ge=1)] = 100
    learned: Annotated[bool, doc("Respect the limits that providers send in their headers.")] = True
    adaptive: Annotated[bool, doc("Lower concurrency to a provider that answers 429 or 503, then raise it slowly.")] = (
        False
    )


class StateSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What several gateways share."""

    url: Annotated[Secret | None, doc("A Redis or Valkey URL; without one, state stays in the process.")] = None


class CostsSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Budgets, in USD."""

    monthly_budget: Annotated[float | None, doc("Limit in USD for all providers per month.", ge=0, le=MOST_USD)] = None
    daily_limit: Annotated[float | None, doc("Limit in USD for all providers per day.", ge=0, le=MOST_USD)] = None
    alert_threshold: Annotated[float, doc("Share of a budget at which an alert is sent.", gt=0, le=1)] = 0.8
    track_by_provider: Annotated[bool, doc("Count costs per provider, too.")] = True
    limits: Annotated[dict[str, float], doc("`<provider>_daily` or `<provider>_monthly`, in USD.")] = {}
    budgets: Annotated[dict[str, BudgetSettings], doc("Budgets of your own, by name.")] = {}
    timezone: Annotated[str, doc("Time zone whose midnight ends a day, such as `Europe/Vienna`.")] = "UTC"
    mode: Annotated[
        BudgetMode, doc("What is reserved: `expected`, what calls are likely to cost; `hard`, the most that they can.")
    ] = "expected"
    unknown_price: Annotated[
        Literal["refuse", "allow"], doc("What to do with calls of unknown price under a budget in USD.")
    ] = "refuse"
    max_wait: Annotated[
        Duration, doc("How long a call may wait for what others have reserved; 0: refuse it at once.", ge=0)
    ] = Duration(30)
    on_outage: Annotated[
        Literal["open", "closed"] | None,
        doc("While the shared state is down: `open`, each process counts alone; default: `closed` for hard budgets."),
    ] = None
    alerts: Annotated[AlertSettings, doc("Where alerts go.")] = AlertSettings()


class Conditions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What must hold of a request; all of it, where several are given."""

    metadata: Annotated[dict[str, str], doc("Members of the request's `metadata`, and their values.")] = {}
    tags: Annotated[list[str], doc("Tags that the request carries, in `metadata.tags` or `x-spine-tags`.")] = []
    min_tokens: Annotated[int | None, doc("At least this many input tokens, by estimate.", ge=0)] = None
    max_tokens: Annotated[int | None, doc("At most this many input tokens, by estimate.", ge=0)] = None


class RouteTarget(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One place where a route may lead."""

    target: Annotated[str, doc("`provider/model`, a provider, another route, or `agent:NAME`.")]
    weight: Annotated[float, doc("Its weight, under the strategy `weighted`.", gt=0)] = 1.0
    when: Annotated[Conditions | None, doc("Only for requests that match these conditions.")] = None


class RouteSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A name that a caller may use as a model."""

    targets: Annotated[list[RouteTarget], doc("The targets: `provider/model`, or a table with a weight.")]
    strategy: Annotated[str, doc("How to order the targets; as `routing.strategy`.")] = RoutingStrategy.ORDERED
    timeouts: Annotated[TimeoutOverrides, doc("Timeouts of this route.")] = TimeoutOverrides()
    on_break: Annotated[Literal["error", "continue"] | None, doc("As `streams.on_break`.")] = None
    on_context_length: Annotated[OnRefusal | None, doc("As `retry.on_context_length`.")] = None
    on_content_filter: Annotated[OnRefusal | None, doc("As `retry.on_content_filter`.")] = None
    cache: Annotated[bool, doc("Cache this route's answers, if there is a cache.")] = True


class AgentSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which provider an agent of your program uses: `registry.get_for_agent(id)`."""

    provider: Annotated[str | None, doc("A provider id.")] = None
    model: Annotated[str | None, doc("The model; defaults to the provider's.")] = None
    temperature: Annotated[float | None, doc("Temperature for requests that set none.", ge=0, le=2)] = None
    max_tokens: Annotated[int | None, doc("Output limit for requests that set none.", ge=1)] = None


class LoggingSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is logged, and how."""

    level: Annotated[Literal["debug", "info", "warning", "error"], doc("The least that is logged.")] = "info"
    format: Annotated[Literal["text", "json"], doc("`json`: one object per line.")] = "text"
    observers: Annotated[
        tuple[str, ...], doc("Who is told of each call: `opentelemetry` sends traces; others by entry point.")
    ] = ()


class Loaded(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How these settings came to be; never written in a file."""

    file: Annotated[str | None, doc("The file that was read.")] = None
    keys: Annotated[tuple[str, ...], doc("The keys that any source set.")] = ()
    sources: Annotated[tuple[str, ...], doc("The file, `.env` and the variables that set something.")] = ()
    warnings: Annotated[tuple[str, ...], doc("What the loader noticed.")] = ()
    discovered: Annotated[bool, doc("Whether the providers were found, not configured.")] = False


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that can be set. `load_settings` reads it; every part has a default."""

    server: Annotated[ServerSettings, doc("The gateway.")] = ServerSettings()
    providers: Annotated[ProvidersSettings, doc("The providers.")] = ProvidersSettings()
    routing: Annotated[RoutingSettings, doc("The choice of a provider.")] = RoutingSettings()
    retry: Annotated[RetrySettings, doc("Retries and fallback.")] = RetrySettings()
    timeouts: Annotated[TimeoutSettings, doc("Timeouts of calls to providers.")] = TimeoutSettings()
    breaker: Annotated[BreakerSettings, doc("The circuit breaker.")] = BreakerSettings()
    health: Annotated[HealthSettings, doc("Health probes.")] = HealthSettings()
    streams: Annotated[StreamSettings, doc("Streams.")] = StreamSettings()
    hedge: Annotated[HedgeSettings, doc("Hedged requests.")] = HedgeSettings()
    limits: Annotated[LimitsSettings, doc("Limits of callers, and waiting.")] = LimitsSettings()
    ledger: Annotated[LedgerSettings, doc("The ledger.")] = LedgerSettings()
    state: Annotated[StateSettings, doc("Shared state.")] = StateSettings()
    cache: Annotated[CacheSettings, doc("The cache of answers.")] = CacheSettings()
    costs: Annotated[CostsSettings, doc("Budgets.")] = CostsSettings()
    routes: Annotated[dict[str, RouteSettings], doc("Routes, by the name that callers use.")] = {}
    agents: Annotated[dict[str, AgentSettings], doc("Agents, by id.")] = {}
    logging: Annotated[LoggingSettings, doc("Logs.")] = LoggingSettings()
    loaded: Annotated[Loaded, doc("How these settings came to be.")] = Loaded()
