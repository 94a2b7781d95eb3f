"""Every image gives a caption or a 4xx with an error code, and only valid images are sent to a provider."""

import io
from collections.abc import Iterator

import pytest
from PIL import Image

from tests.hostile.caption_client import CaptionClient, Response
from tests.hostile.image_cases import ACCEPTED, Case, cases
from tests.servers import OpenAIServer
from tests.service import Service

STATUS = {"accepted": 200, "invalid_image": 422, "unsupported_image": 415, "image_too_large": 413}
# Words of Pillow, its libraries and Python, which must not appear in errors.
INTERNAL_WORDS = ("PIL", "Pillow", "lib", "Error", "buffer", "stream", "unpack", "Traceback", "NoneType", "bytes")


@pytest.fixture(scope="module")
def provider() -> Iterator[OpenAIServer]:
    with OpenAIServer("vllm") as server:
        yield server


@pytest.fixture(scope="module")
def service(provider: OpenAIServer) -> Iterator[Service]:
    with Service(GRAPHCAP_PROVIDER="vllm", GRAPHCAP_MODEL="tiny-vision", VLLM_BASE_URL=provider.url) as service:
        yield service


def mistake(case: Case, answer: Response) -> str | None:
    """Return the mistake in a response in one line, or None."""
    if answer.code not in case.expect or answer.status != STATUS.get(answer.code):
        return f"{case.name}: {answer.status} {answer.code}: {answer.detail}"
    if answer.code != ACCEPTED and (len(answer.detail) > 200 or any(word in answer.detail for word in INTERNAL_WORDS)):
        return f"{case.name} repeats a decoder's message: {answer.detail}"
    return None


def check(service: Service, table: list[Case]) -> int:
    """Send each image as base64 and as an upload, check the responses and return the number of captions."""
    with CaptionClient(service.url) as client:
        answers = client.send_both(case.data() for case in table)
    mistakes = [
        line
        for case, pair in zip(table, answers, strict=True)
        for response in pair
        if (line := mistake(case, response))
    ]
    mistakes += [
        f"{case.name}: {base64.code} in base64, {upload.code} as upload"
        for case, (base64, upload) in zip(table, answers, strict=True)
        if (base64.status, base64.code, base64.detail) != (upload.status, upload.code, upload.detail)
        and "seconds to decode" not in base64.detail + upload.detail  # only one may time out
    ]
    assert not mistakes, "\n".join(mistakes)
    return sum(response.code == ACCEPTED for pair in answers for response in pair)


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
def test_outcomes_are_the_same_with_statistics() -> None:
    """The built-in provider needs statistics, for which every image is decoded."""
    with Service() as builtin:
        check(builtin, list(cases())[::3] + list(cases(large=True)))
    assert "Traceback" not in builtin.log
    assert "Warning" not in builtin.log
