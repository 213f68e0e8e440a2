"""Draw from sources whose best possible loss is known: each symbol's probability is computed."""
