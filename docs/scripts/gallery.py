"""Makes the gallery from real runs of the embedded model: its pictures, and the page itself.

    python docs/scripts/gallery.py [--out docs]

It takes the bundled portrait (NASA, public domain), copies of it made worse, and drawn faces; no
other face is shown. The last part teaches the model the drawn faces, for two minutes or so.
"""

import argparse
import html
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import av
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont

from emo_llama import EmotionRecognizer, Face
from emo_llama.dataset_builders.synthetic import draw_face, save_face
from emo_llama.loading import EMBEDDED_MODEL
from emo_llama.overlay import draw_overlay, label_colour

PORTRAIT = EMBEDDED_MODEL.parent / "portrait.jpg"
QUESTIONS = (
    "Describe the expression of the person in this image.",
    "What does the mouth show?",
    "What do the eyes show?",
    "What do the brows show?",
    "How sure is this?",
    "Why does the person feel so?",
)
BLURS = (0, 2, 3, 4, 5, 6)  # radius, pixels
RATE, SECONDS, BLURRIEST = 10, 8, 7  # of the clip: frames a second, length, pixels
GAP = 0.6  # seconds without a face from which on a line is cut
SHOWN = ("happiness", "neutral", "sadness", "surprise")  # lines of the timeline
STEPS = 100


def summary(face: Face, count: int = 3) -> str:
    """The most probable labels of a face, in per cent."""
    ranked = sorted(face.probabilities.items(), key=lambda item: -item[1])[:count]
    return ", ".join(f"{label} {share:.1%}" for label, share in ranked)


def image(text: str, name: str) -> str:
    """A picture of the gallery in Markdown, with what it shows in words."""
    return f"![{text}](images/gallery-{name})"


def sheet(pictures: Sequence[Image.Image], titles: Sequence[str], columns: int) -> Image.Image:
    """Pictures of one size beside each other, each with a line below."""
    width, height = pictures[0].size
    line, font = 26, ImageFont.load_default(15)
    rows = -(-len(pictures) // columns)
    found = Image.new("RGB", (columns * width, rows * (height + line)), "#20242c")
    draw = ImageDraw.Draw(found)
    for number, (picture, title) in enumerate(zip(pictures, titles, strict=True)):
        x, y = number % columns * width, number // columns * (height + line)
        found.paste(picture, (x, y))
        left = x + (width - font.getlength(title)) / 2
        draw.text((left, y + height + 4), title, fill="#ffffff", font=font)
    return found


def portrait_part(recognizer: EmotionRecognizer, out: Path) -> str:
    """One face, with what the face network sees."""
    picture = Image.open(PORTRAIT).convert("RGB")
    faces = recognizer.recognize(picture, landmarks=True).faces
    drawn = draw_overlay(picture, faces)
    drawn.save(out / "images" / "gallery-portrait.jpg", quality=88)
    return f"""## One face

{image(f"The portrait with a box, 68 landmarks and bars: {summary(faces[0])}", "portrait.jpg")}

The dots are the 68 landmarks as the model's own face network places them; the local clues of the
[Face Info Mining](concepts.md#face-info-mining) are taken there. The sentence that goes with it:

> {faces[0].text}
"""


def questions_part(recognizer: EmotionRecognizer) -> str:
    """What it answers about the portrait."""
    answers = ((question, recognizer.ask(PORTRAIT, question)) for question in QUESTIONS)
    rows = "\n".join(f"| {question} | {answer} |" for question, answer in answers)
    return f"""## Questions about it

| asked | answered |
|---|---|
{rows}

The embedded model knows a few hundred words about faces and can be asked about nothing else.
"""


def several_part(recognizer: EmotionRecognizer, out: Path) -> str:
    """Three faces in one picture."""
    portrait = Image.open(PORTRAIT).convert("RGB")
    person = portrait.crop((100, 0, 400, 400))
    picture = Image.new("RGB", (780, 420), "#5f6b7a")
    picture.paste(person.resize((240, 320)), (15, 50))
    mirrored = person.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    picture.paste(ImageEnhance.Brightness(mirrored).enhance(0.6).resize((210, 280)), (280, 70))
    picture.paste(ImageEnhance.Contrast(person).enhance(1.3).resize((240, 320)), (520, 50))
    faces = recognizer(picture).faces
    draw_overlay(picture, faces).save(out / "images" / "gallery-several.jpg", quality=85)
    told = "; ".join(summary(face, 2) for face in faces)
    return f"""## Several faces

{image("Three copies of the portrait, one mirrored and dark, each with its bars", "several.jpg")}

Each face is found, scored and described by itself, largest first: {told}.
"""


def blur_part(recognizer: EmotionRecognizer, out: Path) -> str:
    """The same face, harder and harder to see."""
    portrait = Image.open(PORTRAIT).convert("RGB")
    pictures, titles, rows = [], [], []
    for radius in BLURS:
        picture = portrait.filter(ImageFilter.GaussianBlur(radius))
        faces = recognizer(picture).faces
        pictures.append(picture.crop((100, 10, 360, 310)).resize((156, 180)))
        best = f"{faces[0].label} {faces[0].confidence:.1%}" if faces else "no face"
        titles.append(best)
        rows.append(f"| {radius} | {summary(faces[0], 3) if faces else 'no face found'} |")
    sheet(pictures, titles, len(BLURS)).save(out / "images" / "gallery-blur.jpg", quality=85)
    table = "\n".join(rows)
    return f"""## Harder to see

{image(f"The portrait under more and more blur: {', '.join(titles)}", "blur.jpg")}

| blur, pixels | probabilities |
|---|---|
{table}

Less to see, less sure; and where no face is found, the result is an empty list and no error.
"""


def write_clip(path: Path) -> None:
    """A clip of the portrait that blurs and clears again."""
    portrait = Image.open(PORTRAIT).convert("RGB")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=RATE, options={"qscale": "2"})
        stream.width, stream.height, stream.pix_fmt = *portrait.size, "yuv420p"
        for step in range(RATE * SECONDS):
            half = RATE * SECONDS / 2
            radius = BLURRIEST * (1 - abs(step - half) / half)
            frame = portrait.filter(ImageFilter.GaussianBlur(radius))
            container.mux(stream.encode(av.VideoFrame.from_image(frame)))
        container.mux(stream.encode())


def clip_part(recognizer: EmotionRecognizer, out: Path) -> str:
    """A person's probabilities over time."""
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.mp4"
        write_clip(clip)
        people = recognizer(str(clip)).faces
    chart = timeline(people)
    (out / "images" / "gallery-clip.svg").write_text(chart, encoding="utf-8")
    seen = sum(len(person.frames or []) for person in people)
    return f"""## A clip

{image(f"Probabilities of {', '.join(SHOWN)} over {SECONDS} seconds", "clip.svg")}

{SECONDS} seconds of the portrait that blurs and clears again. Tracked people: {len(people)};
frames that were looked at and show a face: {seen}. Between the lines no face was found. The whole
clip, from the mean over its frames: {summary(people[0])}.
"""


def timeline(people: Sequence[Face]) -> str:
    """The chart: seconds to the right, probability upward, a line a label."""
    width, height, left, top = 640, 250, 44, 12

    def at(time: float, share: float) -> str:
        x = left + time / SECONDS * (width - left - 110)
        return f"{x:.1f} {top + (1 - share) * (height - top - 36):.1f}"

    shapes = []
    for share in (0, 0.5, 1):
        shapes.append(f'<path class="grid" d="M{at(0, share)}L{at(SECONDS, share)}"/>')
        x, y = at(0, share).split()
        shapes.append(f'<text x="{float(x) - 8}" y="{float(y) + 4}" class="end">{share:.0%}</text>')
    for second in range(0, SECONDS + 1, 2):
        x = at(second, 0).split()[0]
        shapes.append(f'<text x="{x}" y="{height - 12}" class="mid">{second} s</text>')
    for number, label in enumerate(SHOWN):
        colour = label_colour(label)
        for person in people:
            for run in unbroken(person):
                points = " L".join(at(time, shares[label]) for time, shares in run)
                shapes.append(f'<path d="M{points}" stroke="{colour}" class="line"/>')
        y = top + 14 + 24 * number
        shapes.append(f'<path d="M{width - 100} {y - 4}h18" stroke="{colour}" class="line"/>')
        shapes.append(f'<text x="{width - 76}" y="{y}">{html.escape(label)}</text>')
    style = (
        ".chart{--ink:#3a4256;--rule:#c9cfda}"
        "@media (prefers-color-scheme:dark){.chart{--ink:#d7dce6;--rule:#4c5568}}"
        '[data-md-color-scheme="default"] .chart{--ink:#3a4256;--rule:#c9cfda}'
        '[data-md-color-scheme="slate"] .chart{--ink:#d7dce6;--rule:#4c5568}'
        ".chart text{fill:var(--ink);font:13px system-ui,sans-serif}.chart .end{text-anchor:end}"
        ".chart .mid{text-anchor:middle}.chart .grid{stroke:var(--rule);fill:none}"
        ".chart .line{fill:none;stroke-width:2.5;stroke-linejoin:round}"
    )
    title = f"Probabilities of {', '.join(SHOWN)} over {SECONDS} seconds"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" class="chart"'
    body = "\n".join(shapes)
    return f'{head} role="img" aria-label="{title}">\n<style>{style}</style>\n{body}\n</svg>\n'


def unbroken(person: Face) -> list[list[tuple[float, dict[str, float]]]]:
    """A person's frames, cut where the face was not found."""
    runs: list[list[tuple[float, dict[str, float]]]] = []
    before = -1.0
    for frame in person.frames or []:
        if not runs or frame.time - before > GAP:
            runs.append([])
        runs[-1].append((frame.time, frame.probabilities))
        before = frame.time
    return runs


def drawn_part(out: Path) -> str:
    """Drawn faces before and after some training on drawn faces of other colours."""
    recognizer = EmotionRecognizer.from_pretrained(detector="none")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for label in recognizer.labels:
            for seed in range(1, 21):
                save_face(folder / "drawn" / label / f"{seed}.png", label, seed * 131, 96)
        command = [sys.executable, "-m", "emo_llama.cli", "train", "--data", str(folder / "drawn")]
        command += ["--output_dir", str(folder / "out"), "--max_steps", str(STEPS)]
        subprocess.run([*command, "--report_to", "none"], check=True)
        tuned = EmotionRecognizer.from_pretrained(folder / "out" / "model", detector="none")
    pictures = [draw_face(label, 0, 150) for label in recognizer.labels]
    before, after = ([model(p).faces[0] for p in pictures] for model in (recognizer, tuned))
    titles = [f"{face.label} {face.confidence:.0%}" for face in after]
    sheet(pictures, titles, 4).save(out / "images" / "gallery-drawn.png", optimize=True)
    rows = "\n".join(
        f"| {label} | {summary(first, 2)} | {summary(second, 2)} |"
        for label, first, second in zip(recognizer.labels, before, after, strict=True)
    )
    hits = [
        sum(face.label == label for label, face in zip(recognizer.labels, faces, strict=True))
        for faces in (before, after)
    ]
    return f"""## Drawn faces, before and after

{image(f"Eight drawn faces as the tuned model names them: {', '.join(titles)}", "drawn.png")}

| drawn as | embedded model | after {STEPS} steps on other drawings |
|---|---|---|
{rows}

The embedded model has seen photographs only. It names {hits[0]} of these {len(before)} drawings as
they were meant, and is sure of itself where it is wrong: its probabilities hold for pictures like
those that it was calibrated on. After {STEPS} steps of `emo-llama train` on 160 drawings in other
colours it names {hits[1]}.
"""


def page(out: Path) -> str:
    """Makes all pictures and gives the page."""
    (out / "images").mkdir(parents=True, exist_ok=True)
    recognizer = EmotionRecognizer.from_pretrained()
    parts = [
        portrait_part(recognizer, out),
        questions_part(recognizer),
        several_part(recognizer, out),
        blur_part(recognizer, out),
        clip_part(recognizer, out),
        drawn_part(out),
    ]
    head = """# Gallery

What the embedded model gives, made by `python docs/scripts/gallery.py` in one go. The portrait is
by NASA (public domain); all other faces are drawn.
"""
    return "\n".join([head, *parts])


def main() -> None:
    """Write the page and its pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1])
    args = parser.parse_args()
    text = page(args.out)
    (args.out / "gallery.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
