"""One's own recordings: market data as it arrived, in segment files that a crash cannot spoil."""
