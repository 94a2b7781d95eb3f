"""What of a conversation belongs to the picture."""

from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest

from tests.api.openai.ask import IMAGE, ask, refusal, request, send
from tests.clients.bridge import PHOTO, Bridge, message


def test_only_the_last_turn_is_about_this_picture(bridge: Bridge) -> None:
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
    "none": ([message("What is it?", image=None)], "holds none"),
    "only text": ([{"role": "user", "content": "What is it?"}], "holds none"),
    "two in a message": ([{"role": "user", "content": [IMAGE, IMAGE]}], "there are 2"),
    "two in a turn": ([message("This?"), message("Or this?")], "there are 2"),
    "not in the last message": ([message(), message("What is it?", image=None)], "elsewhere"),
    "before the assistant spoke": ([message(), ASSISTANT, message("More?", image=None)], "holds none"),
    "the system's": ([{"role": "system", "content": [IMAGE]}, message("?", image=None)], "elsewhere"),
    "nobody asked": ([message(), ASSISTANT], "holds none"),
}


@pytest.mark.parametrize("name", NOT_ONE_IMAGE)
def test_exactly_one_image(bridge: Bridge, name: str) -> None:
    messages, hint = NOT_ONE_IMAGE[name]
    answer = send(bridge, request(messages=messages))
    told = refusal(answer)
    assert (answer.status_code, told["code"], told["param"]) == (422, "invalid_request", "messages")
    assert hint in told["message"]
    assert bridge.server.calls == []


def test_an_image_by_its_address(bridge: Bridge) -> None:
    with HTTPServer(("127.0.0.1", 0), Pictures) as pictures:
        thread = Thread(target=pictures.serve_forever)
        thread.start()
        ask(bridge, messages=[message(image=f"http://127.0.0.1:{pictures.server_port}/photo.jpg")])
        pictures.shutdown()
        thread.join()
    assert bridge.server.call.image is not None
    assert bridge.server.call.image.data == PHOTO.read_bytes()


class Pictures(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        photo = PHOTO.read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(photo)))
        self.end_headers()
        self.wfile.write(photo)

    def log_message(self, format: str, *args: object) -> None:
        pass
