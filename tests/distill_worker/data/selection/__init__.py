"""Tests of the strategies: the oracle looks at every sample and every distance in a loop."""
