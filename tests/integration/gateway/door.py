"""A gateway that asks for API keys, and those who come to it."""

from __future__ import annotations

from dataclasses import dataclass

import httpx
from google.protobuf.field_mask_pb2 import FieldMask

from codex_lb.api.admin.v1 import api_key_service_pb2 as pb
from codex_lb.api.admin.v1 import settings_service_pb2 as settings_pb
from tests.integration.control.peers import Peers
from tests.support.pair import Pair
from tests.support.system import until
from tests.support.turns import codex_turn

CODEX = "/backend-api/codex/responses"


@dataclass
class Door:
    """A product that asks for keys."""

    pair: Pair
    peers: Peers

    async def key(self, name: str = "ci", **fields: object) -> pb.CreateApiKeyResponse:
        """A new key, known to the gateway."""
        made = await self.peers.api_keys.CreateApiKey(
            pb.CreateApiKeyRequest(api_key=pb.ApiKey(display_name=name, **fields))  # type: ignore[arg-type]
        )
        await self.knows(made)
        return made

    async def knows(self, made: pb.CreateApiKeyResponse) -> None:
        """Waits until the gateway has heard of the key's present state."""
        wanted = made.api_key.name.removeprefix("apiKeys/")
        await until(lambda: any(k.api_key_id == wanted for k in self.pair.gateway.policies.policy.keys.values()))

    async def ask(self, secret: str, method: str = "POST", path: str = CODEX, **more: object) -> httpx.Response:
        """One request with a key."""
        headers = {"authorization": f"Bearer {secret}"} if secret else {}
        body = codex_turn("<<say:hello>>", **more) if method == "POST" else None
        return await self.pair.client.request(method, path, json=body, headers=headers)


async def set_(peers: Peers, settings: settings_pb.Settings, path: str) -> None:
    request = settings_pb.UpdateSettingsRequest(settings=settings, update_mask=FieldMask(paths=[path]))
    await peers.settings.UpdateSettings(request)


async def is_refused(client: httpx.AsyncClient, secret: str) -> bool:
    answer = await client.get("/v1/models", headers={"authorization": f"Bearer {secret}"})
    return answer.status_code == 401


def refusal(message: str, type_: str = "authentication_error", code: str = "invalid_api_key") -> dict[str, object]:
    return {"error": {"message": message, "type": type_, "code": code}}
