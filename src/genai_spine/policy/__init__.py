"""Decisions, as functions of values: the clock and chance are arguments, nothing here waits or sends.

whom to ask       route.py, strategy.py, custom_strategies.py, conditions.py, needs.py, allowed.py, locality.py
when, and again   limits.py, concurrency.py, breaker.py, retry.py, pace.py, hedge.py, cache_key.py
how many tokens   tokens.py, exact_tokens.py, text_features.py, media_tokens.py
at what cost      cost.py, standing.py; before it is sent: cost_bounds.py, budget_need.py, budget.py, forecast.py;
                  long after: repricing.py, whatif.py, reconcile.py, exports.py, model_names.py
"""
