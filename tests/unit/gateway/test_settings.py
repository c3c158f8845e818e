"""Settings of the gateway that are more than a number."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from codex_lb.gateway.settings import GatewaySettings


def test_hosts_of_images_are_a_list_without_case() -> None:
    settings = GatewaySettings.model_validate(
        {"image_inline_allowed_hosts": " Images.example.com, cdn.example.com:8443,"}
    )

    assert settings.image_inline_allowed_hosts == ("images.example.com", "cdn.example.com:8443")


@pytest.mark.parametrize("host", ["https://example.com", "example.com/images", "*.example.com", "[::1]:443", "a b"])
def test_a_host_that_no_image_could_come_from_is_an_error_at_the_start(host: str) -> None:
    with pytest.raises(ValidationError, match="host or host:port"):
        GatewaySettings.model_validate({"image_inline_allowed_hosts": host})
