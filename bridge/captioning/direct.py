"""Caption from Python or the command line, without a server."""

import asyncio
import sys
from pathlib import Path
from typing import Any, TypeGuard

from bridge.captioning import caption as captioning
from bridge.captioning.models import Caption, CaptionOptions, CaptionRequest, ImageRef
from bridge.captioning.services import Services, open_services
from bridge.errors import ImageNotFound, ImageTooLarge
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
) -> Caption:
    """Caption one image: its bytes, a file of this machine, or an http(s) address.

    `perspective` is a name or the perspective itself. `options` holds whatever else a caption request may;
    `services` (from `open_services`) spares loading the library and opening connections for each of many captions.
    Raises the errors that `bridge.captioning.problems` lists.
    """
    if services is None:
        async with open_services(load()) as opened:
            return await caption(
                image,
                perspective,
                options=options,
                provider=provider,
                model=model,
                variables=variables,
                services=opened,
            )
    given = {
        **({} if options is None else options.model_dump(exclude_unset=True)),
        **{
            name: value
            for name, value in (("provider", provider), ("model", model), ("variables", variables))
            if value is not None
        },
    }
    if _is_address(image):
        request = CaptionRequest.model_validate({**given, "perspective": perspective, "image": ImageRef(url=image)})
        return await captioning.caption(request, services)
    upload = image if isinstance(image, bytes) else await asyncio.to_thread(read, image, services)
    request = CaptionRequest.model_validate({**given, "perspective": perspective})
    return await captioning.caption(request, services, upload=upload)


def _is_address(image: bytes | str | Path) -> TypeGuard[str]:
    return isinstance(image, str) and image.startswith(("http://", "https://"))


def read(image: str | Path, services: Services) -> bytes:
    """The bytes of a file, or of standard input for `-`. Raises ImageNotFound or ImageTooLarge."""
    limit = services.settings.max_image_bytes
    try:
        if str(image) == "-":
            data = sys.stdin.buffer.read(limit + 1)
        else:
            with Path(image).open("rb") as file:
                data = file.read(limit + 1)
    except FileNotFoundError:
        raise ImageNotFound(f"There is no file '{image}'.") from None
    except OSError as error:
        raise ImageNotFound(f"'{image}' cannot be read: {error.strerror}.") from None
    if len(data) > limit:
        raise ImageTooLarge(f"The image is larger than the {limit / 1024 / 1024:g} MiB that are taken.")
    return data
