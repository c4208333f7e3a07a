"""Providers: where a request is sent, and the only upstream I/O there is.

the interface     provider.py, what a class writes; fronts.py, what is put around it; answer_check.py,
                  foreign_failure.py, spellings.py, status.py; plugins.py, those of other packages
ours              http_provider.py: a row, a dialect and a transport; ollama_provider.py, replicate_provider.py;
                  litellm_provider.py, litellm_library.py; agent.py, one as an agent sees it
without a model   simulated.py, simulated_usage.py, instances.py
all of them       registry.py; codecs.py, dialects by name; presence.py, an Ollama that nobody has configured
one request       dialect_choice.py, request_defaults.py, embed_parts.py, address.py, own_headers.py, keys.py,
                  overrides.py, hops.py
credentials       authorize.py, access_tokens.py; aws_authorizer.py, aws_credentials.py, aws_metadata.py,
                  aws_profiles.py; azure_authorizer.py; google_authorizer.py
models            standings.py, own_prices.py, price_cards.py, model_lists.py, model_store.py
the transport     transport.py, the seam; http_transport.py, pool.py, connection.py, dial.py, outbox.py; connect.py,
                  which one; proxies.py; aiohttp_transport.py
"""
