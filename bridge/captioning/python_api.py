"""Caption from Python or the command line, without running a service."""

import asyncio
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from bridge.captioning import caption as captioning
from bridge.captioning.models import Caption, CaptionOptions, CaptionRequest, ImageRef
from bridge.captioning.plan import deadline_of
from bridge.captioning.services import Services, open_services
from bridge.errors import ImageNotFound
from bridge.images.inspect import check_bytes
from bridge.run import Run
from bridge.settings import load

DEFAULT_PERSPECTIVE = "graph_caption"


async def caption(
    image: bytes | str | Path,
    perspective: str | dict[str, Any] = DEFAULT_PERSPECTIVE,
    *,
    options: CaptionOptions | None = None,
    provider: str | None = None,
    model: str | None = None,
    variables: dict[str, str] | None = None,
    services: Services | None = None,
    run: Run | None = None,
) -> Caption:
    """Caption one image, given as bytes, as the path of a local file, or as an http(s) URL.

    `perspective`: the name of a perspective, or a complete perspective. `options`: the other fields of a caption
    request. `services`: the result of `open_services`, to make several captions with the same connections. `run`:
    records the provider calls. Its deadline replaces `timeout`. Raises the errors in `bridge.errors.TABLE`.
    """
    named = {"provider": provider, "model": model, "variables": variables}
    fields = {
        **({} if options is None else options.model_dump(exclude_unset=True)),
        **{name: value for name, value in named.items() if value is not None},
        "perspective": perspective,
    }
    async with AsyncExitStack() as stack:
        if services is None:
            services = await stack.enter_async_context(open_services(load()))
        if isinstance(image, str) and image[:7] in ("http://", "https:/"):
            request = CaptionRequest.model_validate({**fields, "image": ImageRef(url=image)})
            upload = None
        else:
            request = CaptionRequest.model_validate(fields)
            upload = image if isinstance(image, bytes) else await asyncio.to_thread(read, image, services)
        return await captioning.caption(request, services, run or Run(deadline_of(request, services)), upload=upload)


def read(image: str | Path, services: Services) -> bytes:
    """Read a file, or standard input if `image` is `-`. Raises ImageNotFound or ImageTooLarge."""
    limit = services.settings.max_image_bytes
    try:
        if str(image) == "-":
            data = sys.stdin.buffer.read(limit + 1)
        else:
            with Path(image).open("rb") as file:
                data = file.read(limit + 1)
    except FileNotFoundError:
        raise ImageNotFound(f"There is no file '{image}'.") from None
    except IsADirectoryError:
        raise ImageNotFound(f"'{image}' is a directory. Name one image file.") from None
    except OSError as error:
        raise ImageNotFound(f"'{image}' cannot be read: {error.strerror}.") from None
    check_bytes(len(data), limit)
    return data
