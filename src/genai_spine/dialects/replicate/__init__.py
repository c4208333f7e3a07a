"""Replicate's predictions, spoken to only: `POST /models/{owner}/{name}/predictions` and `POST /predictions`.

A call is several exchanges, which `providers/replicate_provider.py` makes; here is what is written and read in
each. A model's inputs have names of its own: `inputs.py` reads them from the model's published schema and says a
request in them, `outbound.py` writes a prediction's request and reads the prediction, `decoder.py` its stream.

Sources: replicate.com/docs/reference/http, /docs/topics/predictions/create-a-prediction,
/docs/topics/predictions/streaming and /docs/reference/error-codes. All read 2026-11.
Webhooks, trainings and models whose output is files are not spoken.
"""
