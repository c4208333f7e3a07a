"""What does it: one call from plan to answer. call.py is the place to begin reading.

    a call            call.py; traffic.py, what all calls share; targets.py, how each model fares; attempt.py and
                      record.py, what became of it; hedge.py, single_flight.py, tasks.py, ids.py
    who asks          manager.py, the facade, with manager_config.py, keywords.py and vectors.py; for sync code: sync.py
                      and shortcuts.py; exchange.py, a caller's own bytes
    beside the calls  health.py, local_models.py; observers.py, who else is told of each, and tracing.py, one of them

What a call meets on its way has a folder each: docs/architecture.md.
"""
