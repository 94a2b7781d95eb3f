"""Messages of a conversation, and the one image."""

from typing import Any

import pytest

from tests.api.openai.ask import IMAGE, ask, refusal, request, send
from tests.clients.bridge import PHOTO, Bridge, message


def test_only_the_last_turn_is_used(bridge: Bridge) -> None:
    other = "data:image/png;base64,AAAA"
    messages = [
        message("The harbour.", image=other),
        {"role": "assistant", "content": "A harbour.", "tool_calls": None},
        {"role": "user", "content": "And this:"},
        message("At the fair."),
    ]
    ask(bridge, messages=messages)
    call = bridge.server.call
    assert call.image is not None
    assert call.image.data == PHOTO.read_bytes()
    assert call.prompt.startswith("<context>\nAnd this:\n</context>\n\n<context>\nAt the fair.\n</context>\n\n")
    assert "harbour" not in "".join(call.texts)


ASSISTANT = {"role": "assistant", "content": "A cup."}
NOT_ONE_IMAGE: dict[str, tuple[list[dict[str, Any]], str]] = {
    "none": ([message("What is it?", image=None)], "there is none"),
    "two in a turn": ([message("This?"), message("Or this?")], "there are 2"),
    "not in the last message": ([message(), message("What is it?", image=None)], "elsewhere"),
    "the system's": ([{"role": "system", "content": [IMAGE]}, message("?", image=None)], "elsewhere"),
    "nobody asked": ([message(), ASSISTANT], "there is none"),
}


@pytest.mark.parametrize("name", NOT_ONE_IMAGE)
def test_exactly_one_image(bridge: Bridge, name: str) -> None:
    messages, hint = NOT_ONE_IMAGE[name]
    response = send(bridge, request(messages=messages))
    payload = refusal(response)
    assert (response.status_code, payload["code"], payload["param"]) == (422, "invalid_request", "messages")
    assert hint in payload["message"]
    assert bridge.server.calls == []
