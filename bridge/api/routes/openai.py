"""`/v1/…`: OpenAI's Chat Completions and Models."""

import asyncio

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from bridge.api.connection import disconnected, until
from bridge.api.middleware.request_context import provider_key, record_of, services
from bridge.api.openai import models
from bridge.api.openai.chat_request import read_chat
from bridge.api.openai.completion import ChunkStreamResponse, completion
from bridge.api.request_body import read_body
from bridge.captioning.caption import caption_plan
from bridge.captioning.plan import deadline_of, plan_caption
from bridge.captioning.stream import EventStream
from bridge.deadline import Deadline
from bridge.errors import InvalidRequest

router = APIRouter(prefix="/v1", include_in_schema=False)


@router.post("/chat/completions")
async def complete(request: Request) -> Response:
    """Caption the image of the last user message."""
    resources, record = services(request), record_of(request)
    record.wants_caption = True
    body = await read_body(request, resources.settings)
    if body.upload is not None:
        raise InvalidRequest("Send JSON, with the image as an image_url part of a message.")
    async with Deadline(resources.settings.timeout).within("reading the request"):
        chat, perspective, options = await asyncio.to_thread(read_chat, body.fields, resources)
    run = record.start_run(deadline_of(options, resources))
    plan = plan_caption(perspective, options, resources, run, provider_key=provider_key(request))
    if chat.stream:
        return ChunkStreamResponse(chat, EventStream(plan, resources, run, partials=False), run)
    caption = await until(disconnected(request.receive), caption_plan(plan, resources, run))
    return JSONResponse(completion(caption, chat))


@router.get("/models")
async def list_models(request: Request) -> Response:
    """List the perspectives, each alone and combined with every provider's default model."""
    return JSONResponse({"object": "list", "data": models.list_all(services(request))})


@router.get("/models/{name:path}")
async def show_model(request: Request, name: str) -> Response:
    """Return a model by its name."""
    return JSONResponse(models.find(name, services(request)))
