"""What third parties test their providers and applications with: the simulator, the laws, the suite.

Nothing of the product imports this package but the command `spine simulate`; pytest is needed by
nothing here but what says so.
"""
