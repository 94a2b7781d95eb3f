"""`/v1/…`: chat completions that are captions, and models that are perspectives."""

import asyncio

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from bridge.api import body
from bridge.api.leaving import while_wanted
from bridge.api.openai import models
from bridge.api.openai.answer import ChunkStream, completion
from bridge.api.openai.chat import read
from bridge.api.state import account, provider_key, request_id, services
from bridge.captioning.caption import caption_planned
from bridge.errors import InvalidRequest

router = APIRouter(prefix="/v1", include_in_schema=False)


@router.post("/chat/completions")
async def complete(request: Request) -> Response:
    """Caption the image of the last user message."""
    found, identity = services(request), request_id(request)
    account(request).wants_caption = True
    sent = await body.read(request, found.settings)
    if sent.upload is not None:
        raise InvalidRequest("Send JSON, with the image as an image_url part of a message.")
    asked = await asyncio.to_thread(read, sent.fields, found, provider_key(request))
    if asked.streams:
        return ChunkStream(asked, found, identity)
    made = await while_wanted(request, caption_planned(asked.plan, None, found, identity))
    return JSONResponse(completion(made, asked))


@router.get("/models")
async def list_models(request: Request) -> Response:
    """List perspectives, alone and with each provider's default model."""
    return JSONResponse({"object": "list", "data": models.listed(services(request))})


@router.get("/models/{name:path}")
async def show_model(request: Request, name: str) -> Response:
    """Tell whether this can be asked."""
    return JSONResponse(models.find(name, services(request)))
