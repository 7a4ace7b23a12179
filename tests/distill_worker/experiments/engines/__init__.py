"""Tests of the engines that train many students."""
