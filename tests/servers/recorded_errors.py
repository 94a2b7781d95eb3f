"""Error responses recorded from real servers, as behaviours for `WireServer.reply`."""

import json

from tests.servers.behaviours import Status


def _json(status: int, body: object) -> Status:
    return Status(status, {"content-type": "application/json"}, json.dumps(body).encode())


def _error(status: int, message: str, **fields: object) -> Status:
    return _json(status, {"error": {"message": message, "code": status, **fields}})


LLAMA_NO_VISION = _error(
    500, "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj"
)
LLAMA_UNPARSABLE = _error(500, "The model produced output that does not match the expected peg-native format")
LLAMA_PYTHON_CONTEXT = _error(500, "Prompt exceeds n_ctx: 30047 > 4096")
LITELLM_NO_KEY = _error(500, "litellm.AuthenticationError: The api_key client option must be set by OPENAI_API_KEY")
LITELLM_WRONG_KEY = _json(400, {"error": {"message": "No connected db.", "type": "no_db_connection", "code": "400"}})
OPENROUTER_NO_VISION = _error(404, "No endpoints found that support image input")
TRANSFORMERS_PINNED = _json(400, {"detail": "Server is pinned to tiny/model. Requested: m1"})
VLLM_PROCESSOR = _error(400, "Failed to apply Qwen2VLProcessor on data={'text': '...'} with kwargs={}")
VLLM_MAX_TOKENS = _error(
    400,
    "'max_tokens' or 'max_completion_tokens' is too large: 9000. This model's maximum context length is 4096 tokens "
    "and your request has 300 input tokens (9000 > 4096 - 300).",
    param="max_tokens",
)
UNEXPLAINED = _error(400, "Bad request")
