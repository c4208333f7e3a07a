"""The gateway: HTTP in the callers' dialects on one side, the engine on the other.

app.py has the routes in one list; chat.py answers every dialect with one handler.

    the server        server.py, workers.py, connections.py, protocol.py, request_head.py, known_head.py, exchange.py;
                      any other ASGI server may stand in its place
    each request      app.py, request.py, kept_request.py, keys.py, origins.py, call_headers.py, idempotency.py,
                      answer_headers.py, discretion.py
    what is asked     chat.py, streams.py, inbounds.py; vectors.py, counting.py, capabilities.py; with the model in the
                      path: google.py, azure.py; responses.py, which are not kept
    what there is     listing.py, routing.py, accounts.py, budgets.py; metrics.py, exposition.py, neighbours.py
"""
