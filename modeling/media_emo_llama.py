# Copyright 2026 The emo-llama authors. Licensed under the Apache License, Version 2.0.
"""Pictures and videos of EMO-LLaMA: what a viewer would show, out of files that nobody has vetted.

This file decides how a picture of any mode becomes RGB, and which frames of a video are looked at.
Videos are decoded by this same file run as a script in a process of its own, because a broken file
can kill the interpreter that decodes it (PyAV-Org/PyAV#2344). That process gets the opened file as
its stdin and never a name: FFmpeg takes names for addresses (`http:`, `subfile,`, `concat:`), and
play lists for files to open. Which faces are in a picture is not this file's business.
"""

import json
import logging
import signal
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import IO, Any

import numpy as np
from PIL import Image

try:  # needed by the child process only
    import av
except ImportError:
    av = None  # type: ignore[assignment]

# FFmpeg's names. None of them opens a second file; play lists, `concat` and devices are not here.
CONTAINERS = "mov,matroska,avi,mpeg,mpegts,mpegvideo,asf,flv,ogg,mxf,h264,hevc,ivf,gif"
MAX_VIDEO_SIDE = 4096  # pixels
MAX_FRAME_SECONDS = 120  # how long the decoder may take to the next sampled frame
MEMORY_LIMIT = 4 << 30  # bytes of address space, enough for one 4096 x 4096 stream
DEFAULT_RATE = 25.0  # frames a second of a stream that tells no time

logger = logging.getLogger(__name__)

_SCRIPT = __file__
_FRAME_HEADER = struct.Struct("<ddII")
_EXIF_ORIENTATION = 0x0112
# What Pillow's parser of EXIF raises for broken bytes.
_METADATA_ERRORS = (SyntaxError, ValueError, TypeError, LookupError, OSError, OverflowError)
_METADATA_ERRORS += (struct.error,)
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class VideoFrame:
    """One sampled frame of a video.

    Attributes:
        time (`float`):
            Seconds from the start of the video.
        image (`PIL.Image.Image`):
            The frame as displayed, RGB.
        duration (`float`):
            Seconds of the whole video.
    """

    time: float
    image: Image.Image
    duration: float


@dataclass(frozen=True)
class VideoMeasures:
    """How much there is to decode in a video.

    Attributes:
        seconds (`float`):
            How long it is, by its packets: headers lack the duration or lie about it.
        frames (`int`):
            How many packets its video stream has, of which each holds a frame.
        width (`int`):
            Pixels, before any turning.
        height (`int`):
            Pixels, before any turning.
    """

    seconds: float
    frames: int
    width: int
    height: int


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image of any mode to RGB, as a viewer would show it.

    Args:
        image (`PIL.Image.Image`):
            The image.

    Returns:
        `PIL.Image.Image`: Mode RGB; transparent parts lie on white, deep grey is scaled by the
        range that it uses.
    """
    if image.mode.startswith(("I", "F")):
        return _deep_grey(image).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _deep_grey(image: Image.Image) -> Image.Image:
    """16 and 32 bit grey as 8 bit; `convert` would clip at 255.

    Cameras and scanners write 10, 12 or 14 bits into files of 16 and say so nowhere that Pillow
    reads: the upper eight of the bits that the brightest pixel needs are kept.
    """
    values = np.nan_to_num(np.asarray(image, dtype=np.float32))
    brightest = float(values.max(initial=0.0))
    scale = 256.0 / 2.0 ** max(8, int(brightest).bit_length())
    if image.mode == "F" and brightest <= 1.0:
        scale = 255.0
    return Image.fromarray((values * scale).clip(0, 255).astype(np.uint8))


def upright(image: Image.Image) -> Image.Image:
    """Turn an image as its EXIF orientation says; broken EXIF counts as none.

    Args:
        image (`PIL.Image.Image`):
            The image.

    Returns:
        `PIL.Image.Image`: The image as displayed.
    """
    try:
        orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
    except _METADATA_ERRORS:
        return image
    turn = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def sample_video(
    file: IO[bytes], name: str, fps: float, max_frames: int | None = None
) -> Iterator[VideoFrame]:
    """Sample the frames of a video, one after the other, in a child process.

    Memory does not grow with the video: only the frame in hand is held.

    Args:
        file (`IO[bytes]`):
            The opened file, of the operating system: it needs a file number.
        name (`str`):
            What messages call it.
        fps (`float`):
            Frames a second of the video to sample.
        max_frames (`int`, *optional*):
            The most frames to sample; longer videos are sampled more thinly, evenly.

    Yields:
        `VideoFrame`: The frames in order of time.

    Raises:
        ValueError: The file is no video, is broken from the start, or takes too long to decode.
    """
    options = {"fps": fps, "max_frames": max_frames, "max_side": MAX_VIDEO_SIDE}
    with tempfile.TemporaryFile() as complaints:
        child = _start_decoder(file, options, complaints)
        last = None
        try:
            while frame := _next_frame(child):
                last = frame
                yield frame
            status = child.wait()
        finally:
            child.kill()
            child.communicate()
        if last is None:
            raise ValueError(f"{name}: {_complaint(complaints, status)}")
        if status != 0:
            logger.warning(f"{name}: broken after {last.time:.1f} s; the rest is left out.")


def measure_video(file: IO[bytes], name: str) -> VideoMeasures:
    """Measure a video without decoding it, in a child process.

    Args:
        file (`IO[bytes]`):
            The opened file, of the operating system: it needs a file number.
        name (`str`):
            What messages call it.

    Returns:
        [`VideoMeasures`]: Its length and size.

    Raises:
        ValueError: The file is no video, or is broken from the start.
    """
    with tempfile.TemporaryFile() as complaints:
        child = _start_decoder(file, {"max_side": MAX_VIDEO_SIDE}, complaints)
        answer, _ = child.communicate()
        if child.returncode != 0:
            raise ValueError(f"{name}: {_complaint(complaints, child.returncode)}")
    return VideoMeasures(**json.loads(answer))


def _start_decoder(
    file: IO[bytes], options: dict[str, Any], complaints: IO[bytes]
) -> subprocess.Popen:
    """Start the child process: it samples frames where `options` say how many, or else measures."""
    limits = {"seconds": MAX_FRAME_SECONDS, "memory": MEMORY_LIMIT}
    # -P keeps the script's own folder off the child's import path.
    command = [sys.executable, "-P", _SCRIPT, json.dumps([options, limits])]
    file.seek(0)
    return subprocess.Popen(command, stdin=file, stdout=subprocess.PIPE, stderr=complaints)


def _next_frame(child: subprocess.Popen) -> VideoFrame | None:
    """Read what the decoder writes next: a header and RGB bytes."""
    assert child.stdout is not None  # as it was started; for the type checker
    header = child.stdout.read(_FRAME_HEADER.size)
    if len(header) < _FRAME_HEADER.size:
        return None
    time, duration, width, height = _FRAME_HEADER.unpack(header)
    pixels = child.stdout.read(width * height * 3)
    if len(pixels) < width * height * 3:
        return None
    return VideoFrame(time, Image.frombytes("RGB", (width, height), pixels), duration)


def _complaint(complaints: IO[bytes], status: int) -> str:
    """Say why the decoder gave no frame."""
    complaints.seek(0)
    lines = complaints.read().decode(errors="replace").strip().splitlines()
    if status == -signal.SIGALRM:
        return f"no frame came within {MAX_FRAME_SECONDS} s. Cut the video into shorter pieces."
    if status < 0:
        return f"this video is broken (it stopped the decoder with signal {-status})."
    if status == 0:
        return "no frame could be decoded from this video."
    return f"this video cannot be read ({lines[-1] if lines else f'exit status {status}'})."


# What follows runs in the child process.


class _Clock:
    """Seconds since the first frame, also where time stamps are missing or jump back."""

    def __init__(self, stream: Any) -> None:
        rate = float(stream.average_rate or stream.guessed_rate or DEFAULT_RATE)
        self.step = 1.0 / min(max(rate, 1.0), 1000.0)  # what headers say can be anything
        self.base = stream.time_base  # a fraction
        self.now = -self.step
        self.offset: float | None = None

    def seconds(self, stamp: int | None) -> float:
        """The time of the next frame, from its stamp in the stream's own unit."""
        following = self.now + self.step
        if stamp is None or not self.base:
            self.now = following
            return self.now
        time = float(stamp * self.base)
        if self.offset is None or time - self.offset < self.now:
            self.offset = time - following
        self.now = time - self.offset
        return self.now


def _open(file: IO[bytes]) -> Any:
    """The container in a file, opened from its start; FFmpeg may open nothing else."""
    file.seek(0)
    options = {"format_whitelist": CONTAINERS, "protocol_whitelist": "none"}
    try:
        return av.open(file, metadata_errors="replace", options=options)
    except av.error.ArgumentError as error:
        raise ValueError(f"not one of the containers that are read: {CONTAINERS}") from error


def _video_stream(container: Any, max_side: int) -> Any:
    """The stream to look at, with a cap on what its decoder may be told to allocate."""
    stream = container.streams.best("video")  # not a cover picture, where there is more
    if stream is None:
        raise ValueError("the file has no video stream")
    side = max(stream.codec_context.width, stream.codec_context.height)
    if side > max_side:
        raise ValueError(f"{side} pixels wide or high, at most {max_side} are read")
    stream.codec_context.options = {"max_pixels": str(max_side**2)}
    return stream


def _measures(file: IO[bytes], max_side: int) -> VideoMeasures:
    """Measure a video by its packets, as headers lack the duration or lie about it."""
    with _open(file) as container:
        stream = _video_stream(container, max_side)
        clock, frames = _Clock(stream), 0
        try:
            for packet in container.demux(stream):
                if packet.size:
                    clock.seconds(packet.dts)
                    frames += 1
        except av.error.FFmpegError:
            pass  # cut off here: so is what is sampled
        size = stream.codec_context
        return VideoMeasures(clock.now + clock.step, frames, size.width, size.height)


def sampled_frames(
    file: IO[bytes], fps: float, max_frames: int | None, max_side: int
) -> Iterator[tuple[float, float, np.ndarray]]:
    """Decode the sampled frames in this process.

    Args:
        file (`IO[bytes]`):
            The opened file, seekable.
        fps (`float`):
            Frames a second wanted.
        max_frames (`int`, *optional*):
            The most frames wanted.
        max_side (`int`):
            The largest width and height decoded, pixels.

    Yields:
        `tuple[float, float, np.ndarray]`: Seconds from the first frame, seconds of the whole video,
        and RGB pixels (H, W, 3) uint8 as displayed.

    Raises:
        ValueError: There is no video stream, or it is too large.
    """
    interval, duration = 1.0 / fps, _measures(file, max_side).seconds
    if max_frames is not None:
        interval = max(interval, duration / max_frames)
    with _open(file) as container:
        stream = _video_stream(container, max_side)
        clock, wanted, count = _Clock(stream), 0.0, 0
        for frame in _decoded(container, stream):
            seconds = clock.seconds(frame.pts if frame.pts is not None else frame.dts)
            # Half a millisecond of slack: time stamps are rounded to the stream's clock.
            if seconds + 5e-4 < wanted:
                continue
            if max(frame.width, frame.height) > max_side:  # a stream may grow on its way
                raise ValueError(f"a frame of {frame.width} x {frame.height} pixels")
            pixels = frame.to_ndarray(format="rgb24")
            turned = np.rot90(pixels, round(frame.rotation / 90) % 4)
            yield seconds, duration, np.ascontiguousarray(turned)
            count += 1
            if count == max_frames:
                return
            wanted = max(wanted + interval, seconds)


def _decoded(container: Any, stream: Any) -> Iterator[Any]:
    """All frames of a stream; damaged packets are passed over while others can be decoded."""
    damage, found = None, False
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except av.error.FFmpegError as error:
            damage = error
            continue
        for frame in frames:
            found = True
            yield frame
    if damage is not None and not found:
        raise ValueError(f"its frames are damaged or too large: {damage.strerror}")


def _limit_memory(size: int) -> None:
    """Cap the address space of this process, where the system can."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (size, size))
    except (ImportError, ValueError, OSError):
        return


def main() -> int:
    """Write the sampled frames of the video at stdin to stdout, or its measures as JSON.

    Returns:
        `int`: The exit status: 0 done, 1 the video cannot be read (the reason is on stderr).
    """
    if av is None:
        sys.stderr.write("reading videos needs PyAV: pip install av\n")
        return 1
    options, limits = json.loads(sys.argv[1])
    _limit_memory(limits["memory"])
    out = sys.stdout.buffer
    try:
        # The alarm ends this process from within: it works in native code too, and without parent.
        signal.setitimer(signal.ITIMER_REAL, limits["seconds"])
        if "fps" not in options:
            out.write(json.dumps(asdict(_measures(sys.stdin.buffer, **options))).encode())
            out.flush()
            return 0
        for seconds, duration, pixels in sampled_frames(sys.stdin.buffer, **options):
            signal.setitimer(signal.ITIMER_REAL, 0)  # not while the reader takes its time
            out.write(_FRAME_HEADER.pack(seconds, duration, pixels.shape[1], pixels.shape[0]))
            out.write(pixels.tobytes())
            signal.setitimer(signal.ITIMER_REAL, limits["seconds"])
        signal.setitimer(signal.ITIMER_REAL, 0)
        out.flush()
    except BrokenPipeError:
        return 0
    except av.error.FFmpegError as error:
        sys.stderr.write(f"{error.strerror}\n")
        return 1
    except (ValueError, OSError, MemoryError, IndexError, OverflowError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
