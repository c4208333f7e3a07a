"""Wire formats, each read from both ends: pure functions between bytes and the model, no I/O.

A dialect must not know where its bytes are sent, who pays, or when to try again. What it looks like is
written down in interface.py; `openai_chat` is the one to read first. Those of chat have a folder or a module each, as
have embeddings, reranking and lists of models. What they share:

    reading           reading.py, what callers say; lenient.py, what providers say; metadata.py, what the middle has no
                      name for; plain_request.py; failure.py, limits.py, errors and headers; rfc3339.py
    writing           written.py, shortened.py, media_types.py, text_documents.py, turns.py, json_schema.py, effort.py,
                      auto_marks.py; foreign.py, what only another dialect knows
    both              quirks.py, signatures.py, signed_calls.py, citations.py, web_search.py, searches.py,
                      service_tiers.py; vectors.py, rankings.py
    streams           frame_decoder.py, one_text.py
    bytes sent on     relayed_request.py, relay.py
"""
