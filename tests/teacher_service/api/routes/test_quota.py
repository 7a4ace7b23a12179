"""`GET /v1/quota` and the quota headers: always what enforcement would do next."""

from tests.teacher_service.running_service import ServiceUnderTest, images, in_progress


def test_quota_headers_agree_with_the_quota(service: ServiceUnderTest) -> None:
    for used in (3, 6, 9):
        paid = service.infer(images(3))
        asked = service.send("GET", "/v1/quota", service.authorization)
        for response in (paid, asked):
            assert response.headers["ratelimit-policy"] == '"quota";q=100;qu="samples"'
            assert response.headers["ratelimit"] == f'"quota";r={100 - used}'
        assert asked.json() == {
            "key_id": service.key.id,
            "name": "tester",
            "holder": "",
            "unit": "samples",
            "limit": 100,
            "used": used,
            "reserved": 0,
            "remaining": 100 - used,
            "requests_per_minute": None,
            "samples_per_minute": None,
            "max_concurrent": None,
            "in_flight": 0,
            "expires_at": None,
            "outputs": "logits",
            "features": False,
        }


def test_quota_shows_what_is_held_while_the_model_works(service: ServiceUnderTest) -> None:
    with in_progress(service, 3) as request:
        assert service.counts() == (0, 3)
        assert service.send("GET", "/v1/quota", service.authorization).headers["ratelimit"] == '"quota";r=97'
    assert request.result().status_code == 200
    assert service.counts() == (3, 0)


def test_quota_headers_come_with_an_exhausted_quota(service: ServiceUnderTest) -> None:
    """DESIGN.md section 3, where a client needs them most."""
    paying = {"Authorization": f"Bearer {service.new_key('poor', 5).token}"}
    headers = service.infer(images(6), paying).headers
    assert headers["ratelimit-policy"] == '"quota";q=5;qu="samples"'
    assert headers["ratelimit"] == '"quota";r=5'
