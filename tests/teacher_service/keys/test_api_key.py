"""API keys: random, recognisable, and stored only as a hash."""

import re
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teacher_service.keys import api_key


def test_new_key_has_the_documented_form() -> None:
    """`tk_<id>_<secret>`, the secret of 256 bits, stored as its SHA-256."""
    key = api_key.new_key()
    match = re.fullmatch(r"tk_([0-9a-f]{12})_([0-9a-f]{64})", key.token)
    assert match
    assert key.id == match[1] == api_key.key_id_of(key.token)
    assert key.secret_sha256 == sha256(match[2].encode()).hexdigest()
    assert api_key.matches(key.token, key.secret_sha256)


def test_new_keys_differ() -> None:
    keys = [api_key.new_key() for _ in range(50)]
    assert len({key.id for key in keys}) == len({key.secret_sha256 for key in keys}) == 50


@pytest.mark.parametrize("token", ["", "tk", "tk_", "tk_a", "tk_a_b_c", "xx_a_b", "TK_a_b", "a_b"])
def test_id_of_a_malformed_token_is_empty(token: str) -> None:
    assert api_key.key_id_of(token) == ""


@given(st.text(max_size=30))
def test_no_text_matches_by_chance(secret: str) -> None:
    """Whatever a client sends is only ever right or wrong."""
    key = api_key.new_key()
    for token in (secret, f"tk_{key.id}_{secret}"):
        assert not api_key.matches(token, key.secret_sha256)
        api_key.key_id_of(token)


def test_secret_of_another_key_does_not_match() -> None:
    mine, other = api_key.new_key(), api_key.new_key()
    assert not api_key.matches(f"tk_{mine.id}_{other.token.rsplit('_', 1)[1]}", mine.secret_sha256)
    assert not api_key.matches(mine.token[:-1], mine.secret_sha256)
    assert not api_key.matches(mine.token.upper(), mine.secret_sha256)
