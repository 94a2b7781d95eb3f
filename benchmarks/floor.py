"""The floor: a bare Starlette handler that sends the same request through `openai.AsyncOpenAI`. Nothing is prepared,
nothing validated. `python -m benchmarks.floor`"""

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
    """Ask the provider what the bridge would ask, and hand its text on."""
    asked = await request.json()
    perspective = LIBRARY.get(asked["perspective"])
    picture = {"url": f"data:image/jpeg;base64,{asked['image']['base64']}"}
    messages: Any = [
        {
            "role": "user",
            "content": [{"type": "image_url", "image_url": picture}, {"type": "text", "text": perspective.prompt}],
        }
    ]
    schema: Any = {"name": perspective.name, "strict": True, "schema": SCHEMAS[perspective.name]}
    reply = await SDK.chat.completions.create(
        model=os.environ["GRAPHCAP_MODEL"],
        messages=messages,
        response_format={"type": "json_schema", "json_schema": schema},
    )
    return JSONResponse({"text": reply.choices[0].message.content})


SCHEMAS = {one.name: dialects.openai_strict(one.json_schema) for one in LIBRARY.all()}
app = Starlette(routes=[Route("/perspectives/caption", caption, methods=["POST"])])

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=0, access_log=False)
