"""The services that captions share."""

from pathlib import Path

import pytest

from bridge.captioning.caption import caption
from bridge.captioning.models import CaptionRequest
from bridge.captioning.services import open_services
from bridge.deadline import Deadline
from bridge.run import Run
from bridge.settings import Settings
from providers.errors import Unreachable


@pytest.mark.parametrize("shown", [True, False])
async def test_errors_name_a_providers_address_only_where_that_is_allowed(
    shown: bool, tmp_path: Path, photo: bytes
) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config/providers.toml").write_text('[providers.gpu]\nkind = "vllm"\nbase_url = "http://127.0.0.1:9"\n')
    request = CaptionRequest.model_validate({"perspective": "alt_text", "provider": "gpu", "model": "m", "timeout": 20})
    async with open_services(Settings(workspace=tmp_path), shows_addresses=shown) as services:
        with pytest.raises(Unreachable) as raised:
            await caption(request, services, Run(Deadline(20)), upload=photo)
    assert ("127.0.0.1:9" in str(raised.value)) == shown
