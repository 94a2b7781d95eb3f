"""Any image gives a caption or a 4xx with its code, and only sound images reach a provider."""

import io
from collections.abc import Iterator

import pytest
from PIL import Image

from tests.hostile.asking import Answer, Asker
from tests.hostile.images_table import ACCEPTED, Case, cases
from tests.servers import OpenAIServer
from tests.service import Service

STATUS = {"accepted": 200, "invalid_image": 422, "unsupported_image": 415, "image_too_large": 413}
# Words of Pillow, its libraries and Python, which no caller should read.
FOREIGN = ("PIL", "Pillow", "lib", "Error", "buffer", "stream", "unpack", "Traceback", "NoneType", "bytes")


@pytest.fixture(scope="module")
def provider() -> Iterator[OpenAIServer]:
    with OpenAIServer("vllm") as server:
        yield server


@pytest.fixture(scope="module")
def service(provider: OpenAIServer) -> Iterator[Service]:
    with Service(GRAPHCAP_PROVIDER="vllm", GRAPHCAP_MODEL="tiny-vision", VLLM_BASE_URL=provider.url) as service:
        yield service


def wrong(case: Case, answer: Answer) -> str | None:
    """Return what is wrong with an answer, in one line."""
    if answer.code not in case.expect or answer.status != STATUS.get(answer.code):
        return f"{case.name}: {answer.status} {answer.code}: {answer.detail}"
    if answer.code != ACCEPTED and (len(answer.detail) > 200 or any(word in answer.detail for word in FOREIGN)):
        return f"{case.name} uses a decoder's words: {answer.detail}"
    return None


def check(service: Service, table: list[Case]) -> int:
    """Send each image as base64 and as upload, check the answers, return the number of captions."""
    with Asker(service.url) as asker:
        answers = asker.ask_both(case.data() for case in table)
    mistakes = [line for case, pair in zip(table, answers, strict=True) for one in pair if (line := wrong(case, one))]
    mistakes += [
        f"{case.name}: {base64.code} in base64, {upload.code} as upload"
        for case, (base64, upload) in zip(table, answers, strict=True)
        if (base64.status, base64.code, base64.detail) != (upload.status, upload.code, upload.detail)
        and "seconds to decode" not in base64.detail + upload.detail  # one of them, on a busy machine
    ]
    assert not mistakes, "\n".join(mistakes)
    return sum(one.code == ACCEPTED for pair in answers for one in pair)


@pytest.mark.slow
@pytest.mark.parametrize("large", [False, True], ids=["quick", "large"])
def test_every_image_of_the_table(service: Service, provider: OpenAIServer, large: bool) -> None:
    provider.calls.clear()
    assert check(service, list(cases(large=large))) == len(provider.calls)
    for call in provider.calls:
        assert call.image is not None
        with Image.open(io.BytesIO(call.image.data)) as image:
            assert image.mode in ("L", "RGB", "P", "1")
            assert image.format in ("JPEG", "PNG", "WEBP")
    assert "Traceback" not in service.log


@pytest.mark.slow
def test_statistics_change_no_outcome() -> None:
    """The provider that needs statistics has every image decoded."""
    with Service() as builtin:
        check(builtin, list(cases())[::3] + list(cases(large=True)))
    assert "Traceback" not in builtin.log
    assert "Warning" not in builtin.log
