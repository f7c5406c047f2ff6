"""Decodes one video, as a script in a process of its own; see `emo_llama.media.read_video`.

Takes one argument, a JSON object with `path`, `fps`, `max_frames` and `max_side`. Writes to stdout,
for each sampled frame, its time, width and height (little-endian double and two uint32) and its
RGB bytes. It imports nothing of the package, so that it starts in a fraction of a second.
"""

import json
import struct
import sys
from collections.abc import Iterator
from typing import Any

import av
import numpy as np

MEMORY_LIMIT = 4 << 30  # bytes of address space, enough for one 4096 x 4096 stream


def limit_memory() -> None:
    """Cap the memory of this process, where the system can."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    except (ImportError, ValueError, OSError):
        return


def sampling_interval(container: Any, stream: Any, fps: float, max_frames: int) -> float:
    """Choose the seconds between two sampled frames.

    Args:
        container (`av.container.InputContainer`):
            The opened file.
        stream (`av.video.stream.VideoStream`):
            Its video stream.
        fps (`float`):
            Frames a second wanted.
        max_frames (`int`):
            The most frames wanted.

    Returns:
        `float`: Seconds; longer than `1 / fps` where the video is long.
    """
    if stream.duration is not None and stream.time_base is not None:
        seconds = float(stream.duration * stream.time_base)
    else:
        seconds = (container.duration or 0) / av.time_base
    return max(1.0 / fps, seconds / max_frames)


def sampled_frames(options: dict[str, Any]) -> Iterator[tuple[float, np.ndarray]]:
    """Decode the sampled frames.

    Args:
        options (`dict`):
            What the command line gave.

    Yields:
        `tuple[float, np.ndarray]`: Seconds from the first frame, and RGB pixels (H, W, 3) uint8 as
        displayed.
    """
    with av.open(options["path"], metadata_errors="replace") as container:
        if not container.streams.video:
            raise ValueError("the file has no video stream")
        stream = container.streams.video[0]
        side = max(stream.codec_context.width, stream.codec_context.height)
        if side > options["max_side"]:
            raise ValueError(f"{side} pixels wide or high, at most {options['max_side']} are read")
        interval = sampling_interval(container, stream, options["fps"], options["max_frames"])
        start, wanted = None, 0.0
        count = 0
        for frame in container.decode(stream):
            seconds = frame.time if frame.time is not None else 0.0
            start = seconds if start is None else start
            # Half a millisecond of slack: time stamps are rounded to the stream's clock.
            if seconds - start + 5e-4 < wanted:
                continue
            pixels = frame.to_ndarray(format="rgb24")
            turns = round(frame.rotation / 90) % 4
            yield seconds - start, np.ascontiguousarray(np.rot90(pixels, turns))
            count += 1
            wanted = max(wanted + interval, seconds - start)
            if count >= options["max_frames"]:
                return


def main() -> int:
    """Write the sampled frames to stdout.

    Returns:
        `int`: The exit status: 0 done, 1 the video cannot be read (the reason is on stderr).
    """
    limit_memory()
    out = sys.stdout.buffer
    try:
        for seconds, pixels in sampled_frames(json.loads(sys.argv[1])):
            height, width = pixels.shape[:2]
            out.write(struct.pack("<dII", seconds, width, height))
            out.write(pixels.tobytes())
        out.flush()
    except BrokenPipeError:
        return 0
    except av.error.FFmpegError as error:
        sys.stderr.write(f"{error.strerror}\n")
        return 1
    except (ValueError, OSError, MemoryError, IndexError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
