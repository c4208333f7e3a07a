"""Amazon Bedrock's Converse and ConverseStream: one format for the models of every maker there. Outbound only.

Sources: docs.aws.amazon.com/bedrock/latest/APIReference/{API_runtime_Converse, API_runtime_ConverseStream,
API_runtime_ContentBlock, API_runtime_DocumentBlock, API_runtime_CountTokens, CommonErrors}.html,
…/userguide/{conversation-inference-call, tool-use, prompt-caching, structured-output, inference-profiles}.html
(read 2026-11), the service's published model 2023-09-30, and recorded traffic.

schema.py holds the tables, errors.py what failures mean, blocks.py the content blocks, history.py the
conversation, additional.py what only some makers' models take; outbound.py speaks, decoder.py reads streams.
"""
