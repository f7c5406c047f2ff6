"""Label probabilities from a language model: the likelihood of each label's text.

All labels share one prompt with one picture, so that the prompt is run once and its keys and values
are repeated, once a label; the labels' own tokens then run as one batch. Reading the label off
generated text is deliberately not offered: "sad, not happy" is no happiness.
"""

from collections.abc import Sequence

import numpy as np
import torch

from emo_llama.errors import EmoLlamaError, ScoreError, UsageError
from emo_llama.modeling import (
    EmoLlamaConfig,
    EmoLlamaEncodings,
    EmoLlamaForConditionalGeneration,
    EmoLlamaProcessor,
)
from emo_llama.prompts import category_question
from emo_llama.recognition.rendering import alike, prepare_inputs, render_prompt

MAX_ROWS = 2048  # labels times pictures that run as one batch


class LabelScorer:
    """Scores a fixed list of labels for pictures of faces.

    Args:
        model ([`~emo_llama.modeling.EmoLlamaForConditionalGeneration`]):
            The model, in evaluation mode.
        processor ([`~emo_llama.modeling.EmoLlamaProcessor`]):
            Its processor.
        labels (`Sequence[str]`):
            The labels, in the order that the question names them.
        prior (`str`, *optional*):
            Name of one of the checkpoint's `operating_points`; its `label_bias` by default.

    Raises:
        UsageError: The checkpoint has no operating point of that name.
        EmoLlamaError: The chat template does not append the answer to the prompt unchanged.
    """

    def __init__(
        self,
        model: EmoLlamaForConditionalGeneration,
        processor: EmoLlamaProcessor,
        labels: Sequence[str],
        prior: str | None = None,
    ) -> None:
        self.model = model
        self.processor = processor
        self.labels = tuple(labels)
        self.prompt = render_prompt(processor, category_question(self.labels))
        self.ids, self.mask = self._label_ids()
        names = [name for _, name in sorted(model.config.id2label.items())]  # a file: 10 before 2
        bias = dict(zip(names, _label_bias(model.config, prior), strict=False))
        self.bias = torch.tensor([bias.get(label, 0.0) for label in self.labels]).double()

    def score(
        self,
        encodings: EmoLlamaEncodings,
        batch_size: int = 32,
        prefixes: Sequence[str] | None = None,
    ) -> np.ndarray:
        """Score the labels for each picture.

        Args:
            encodings ([`~emo_llama.modeling.EmoLlamaEncodings`]):
                A row a picture.
            batch_size (`int`, *optional*, defaults to 32):
                Pictures in one pass.
            prefixes (`Sequence[str]`, *optional*):
                A sentence for each picture that stands before the question, or an empty one.

        Returns:
            `np.ndarray` of shape (n, n_labels), float64: Probabilities, after the
            config's `label_temperature` and the bias of the operating point; each row sums to 1.

        Raises:
            ScoreError: The model's likelihoods are not finite.
        """
        batch_size = max(1, min(batch_size, MAX_ROWS // len(self.labels)))
        scores = np.empty((encodings.num_frames, len(self.labels)))
        for prefix, rows in alike(prefixes or [""] * len(scores)):
            for start in range(0, len(rows), batch_size):
                part = rows[start : start + batch_size]
                scores[part] = self._score_batch(encodings.select(part), prefix)
        return scores

    @torch.inference_mode()
    def _score_batch(self, encodings: EmoLlamaEncodings, prefix: str) -> np.ndarray:
        """Prefill the shared prompt, then run every label behind it."""
        prompt = self.prompt
        if prefix:
            prompt = render_prompt(self.processor, category_question(self.labels), prefix=prefix)
        inputs = prepare_inputs(self.processor, prompt, encodings).to(self.model.device)
        batch, labels = encodings.num_frames, len(self.labels)
        prefill = self.model(**inputs, use_cache=True, logits_to_keep=1)
        first = prefill.logits.repeat_interleave(labels, dim=0)  # (B * L, 1, V)
        logits = first
        ids = self.ids.to(self.model.device).repeat(batch, 1)  # (B * L, T)
        mask = self.mask.to(self.model.device).repeat(batch, 1)
        if ids.shape[1] > 1:
            cache = prefill.cache
            cache.batch_repeat_interleave(labels)
            before = inputs["attention_mask"].repeat_interleave(labels, dim=0)
            rest = self.model(
                input_ids=ids[:, :-1],
                attention_mask=torch.cat([before, mask[:, :-1]], dim=1),
                cache=cache,
                use_cache=True,
            )
            logits = torch.cat([first, rest.logits], dim=1)  # (B * L, T, V)
        log_probs = logits.float().log_softmax(-1).gather(-1, ids[..., None])[..., 0]
        totals = (log_probs * mask).sum(-1).view(batch, labels).double()
        scaled = totals / self.model.config.label_temperature
        probabilities = (scaled.cpu() + self.bias).softmax(-1)
        if not probabilities.isfinite().all():
            raise ScoreError(
                f"the likelihoods of the labels are not finite (computed in {self.model.dtype} on "
                f"{self.model.device}), so that no label can be named. Load the model with "
                "dtype=torch.float32, or use another checkpoint."
            )
        return probabilities.numpy()

    def _label_ids(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids of each label with its end token, right-padded, and their mask: (L, T)."""
        tokenize = self.processor.tokenizer
        question = category_question(self.labels)
        prompt = tokenize(self.prompt, add_special_tokens=False)["input_ids"]
        rows = []
        for label in self.labels:
            text = render_prompt(self.processor, question, answer=label)
            ids = tokenize(text, add_special_tokens=False)["input_ids"]
            if ids[: len(prompt)] != prompt or len(ids) == len(prompt):
                raise EmoLlamaError(
                    f"The answer {label!r} changes how the prompt before it is tokenized, so that "
                    "its likelihood cannot be read. Put the space before the answer into the "
                    "answer, as the default chat template does."
                )
            rows.append(torch.tensor(ids[len(prompt) :]))
        pad = torch.nn.utils.rnn.pad_sequence
        ids = pad(rows, batch_first=True)
        mask = pad([torch.ones_like(row) for row in rows], batch_first=True)
        return ids, mask


def _label_bias(config: EmoLlamaConfig, prior: str | None) -> Sequence[float]:
    """What is added to the scores of the labels; empty where it is nothing."""
    if prior is None:
        return config.label_bias or ()
    points = config.operating_points or {}
    if prior not in points:
        known = f"it has {', '.join(sorted(points))}" if points else "it has none"
        raise UsageError(
            f"the checkpoint has no operating point {prior!r}; {known}. Name one of these, or "
            "leave the choice out for the checkpoint's own."
        )
    return points[prior]
