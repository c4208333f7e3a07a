"""What was said in a call, on its way to the ledger, where `ledger.content` has it kept.

    keeping.py    whose texts are kept, and how much of them; one call's while it is under way
    answers.py    an answer in one piece, of a response, of events or of a caller's stream
    words.py      a text as it is kept: sounds and images named, secrets out, not too long

In the event loop nothing is read or copied: what a call was asked and answered is noted, and put into words in the
ledger's thread.
"""
