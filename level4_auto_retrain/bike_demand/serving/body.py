"""Reads the body of a request, but never more of it than is allowed."""

from fastapi import HTTPException, Request

MAX_BYTES = 1024 * 1024


async def read_body(request: Request) -> bytes:
    """The body's bytes. Raises HTTPException 413 as soon as it is known to be over MAX_BYTES."""
    declared = request.headers.get("content-length")
    if declared is not None and int(declared) > MAX_BYTES:  # the server refuses what is not a number
        raise _too_large()
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BYTES:
            raise _too_large()
        chunks.append(chunk)
    return b"".join(chunks)


def _too_large() -> HTTPException:
    return HTTPException(413, f"the body is over {MAX_BYTES} bytes; send fewer rows at once")
