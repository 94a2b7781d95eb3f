"""What captions share."""

from pathlib import Path

import pytest

from bridge.captioning.caption import caption
from bridge.captioning.models import CaptionRequest
from bridge.captioning.services import open_services
from bridge.settings import Settings
from providers.errors import Unreachable


@pytest.mark.parametrize("told", [True, False])
async def test_where_a_provider_is_may_be_nobodys_business(told: bool, tmp_path: Path, photo: bytes) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config/providers.toml").write_text('[providers.gpu]\nkind = "vllm"\nbase_url = "http://127.0.0.1:9"\n')
    request = CaptionRequest.model_validate({"perspective": "alt_text", "provider": "gpu", "model": "m", "timeout": 20})
    async with open_services(Settings(workspace=tmp_path), tells_addresses=told) as services:
        with pytest.raises(Unreachable) as raised:
            await caption(request, services, upload=photo)
    assert ("127.0.0.1:9" in str(raised.value)) == told
