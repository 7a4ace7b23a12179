"""Tests of the augmentations: the oracle warps, tones and cuts pixel by pixel."""
