"""The baseline: a bare Starlette handler that sends the same request through `openai.AsyncOpenAI`.

It neither prepares nor validates anything. `python -m benchmarks.baseline`
"""

import os
from typing import Any

import openai
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from perspectives import catalog
from providers import dialects

LIBRARY = catalog.load([catalog.LIBRARY])
SDK = openai.AsyncOpenAI(max_retries=0)


async def caption(request: Request) -> Response:
    """Send the request that the bridge would send, and return the text of the answer."""
    fields = await request.json()
    perspective = LIBRARY.get(fields["perspective"])
    image = {"url": f"data:image/jpeg;base64,{fields['image']['base64']}"}
    messages: Any = [
        {
            "role": "user",
            "content": [{"type": "image_url", "image_url": image}, {"type": "text", "text": perspective.prompt}],
        }
    ]
    schema: Any = {"name": perspective.name, "strict": True, "schema": SCHEMAS[perspective.name]}
    completion = await SDK.chat.completions.create(
        model=os.environ["GRAPHCAP_MODEL"],
        messages=messages,
        response_format={"type": "json_schema", "json_schema": schema},
    )
    return JSONResponse({"text": completion.choices[0].message.content})


SCHEMAS = {item.name: dialects.openai_strict(item.json_schema) for item in LIBRARY.all()}
app = Starlette(routes=[Route("/perspectives/caption", caption, methods=["POST"])])

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=0, access_log=False)
