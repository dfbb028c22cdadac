"""What a step learns from, whichever way its examples are laid out, and what happens where memory runs out."""

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
import torch

from starling_server.backends.torch.loading import Loaded
from starling_server.errors import UsageError
from starling_server.prompt.fim import Example
from starling_training.config import Loss, OptimConfig
from starling_training.examples.dataset import IGNORED, Writer
from starling_training.examples.spans import cut
from starling_training.fit import attempt, losses
from starling_training.sources.clean import Document


@pytest.fixture(scope="module")
def writer(exact: Loaded) -> Writer:
    return Writer(exact.tokenizer, exact.fim, 256, 32)


def examples(writer: Writer, source: str, count: int) -> Iterator[dict[str, list[Any]]]:
    """Short and long ones; every other learns from all its tokens."""
    document = Document("engine.py", source, "")
    for number in range(count):
        text = source[: 200 + 400 * number]
        (span,) = writer.draw(Document(document.path, text, ""), 1, Random(number))
        made = writer.hole(cut(text, span), "spm")
        loss: Loss = "middle" if number % 2 else "weighted"
        yield {
            "input_ids": made.ids, "labels": losses.labels(made, loss),
            "weights": losses.weights(made, loss, writer.context_tokens),
        }  # fmt: skip


def loss_and_gradient(
    loaded: Loaded, batch: list[dict[str, list[Any]]], packing: bool
) -> tuple[float, dict[str, torch.Tensor]]:
    """As in training."""
    total = losses.weighted_loss(loaded.model, losses.collator(loaded.fim.pad, packing)(batch))
    names, weights = zip(*((name, w) for name, w in loaded.model.named_parameters() if ".h.0." in name), strict=True)
    return total.item(), dict(zip(names, torch.autograd.grad(total, weights), strict=True))


def test_the_loss_is_the_models_own(exact: Loaded, writer: Writer, source: str) -> None:
    batch = losses.collator(exact.fim.pad, packing=False)(list(examples(writer, source, 5)))
    with torch.inference_mode():
        total, labels = losses.summed_loss(exact.model, batch)
        own = exact.model(**{name: values for name, values in batch.items() if name != "weights"}).loss
    assert labels == int((batch["labels"][:, 1:] != IGNORED).sum())
    assert total.item() / labels == pytest.approx(own.item(), rel=1e-5)


def test_each_example_has_its_share_of_the_loss_at_any_batch_size(exact: Loaded, writer: Writer, source: str) -> None:
    """Middles have a fifth of it; a mean over tokens would give them less, the larger the batch."""
    made = list(examples(writer, source, 8))
    for size in (2, 4, 8):
        batch = losses.collator(exact.fim.pad, packing=False)(made[:size])
        torch.testing.assert_close(batch["weights"].sum(1), torch.full((size,), 1 / size))
    for text in (source[:900], source):
        (span,) = writer.draw(Document("engine.py", text, ""), 1, Random(1))
        hole = writer.hole(cut(text, span), "spm")
        weights = losses.weights(hole, "weighted", writer.context_tokens)
        assert sum(weights[hole.prompt_tokens :]) == pytest.approx(losses.MIDDLE_SHARE)
        assert sum(losses.weights(hole, "middle", 0)[hole.prompt_tokens :]) == pytest.approx(1)
        assert set(losses.weights(hole, "all", 512)) == {1 / 512}
        assert sum(losses.weights(Example(hole.ids, 0), "weighted", 0)) == pytest.approx(1)


def test_the_weighted_loss_is_the_sum_of_weighted_losses(exact: Loaded, writer: Writer, source: str) -> None:
    batch = losses.collator(exact.fim.pad, packing=False)(list(examples(writer, source, 4)))
    with torch.inference_mode():
        logits = exact.model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits.float()
        each = torch.nn.functional.cross_entropy(
            logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten(), reduction="none"
        )
        expected = (each * batch["weights"][:, 1:].flatten()).sum()
        torch.testing.assert_close(losses.weighted_loss(exact.model, batch), expected, rtol=1e-5, atol=1e-5)


def test_packed_rows_learn_what_padded_ones_do(exact: Loaded, writer: Writer, source: str) -> None:
    batch = list(examples(writer, source, 5))
    assert len({len(example["input_ids"]) for example in batch}) == 5
    exact.model.requires_grad_(True)
    try:
        padded, wanted = loss_and_gradient(exact, batch, packing=False)
        packed, found = loss_and_gradient(exact, batch, packing=True)
    finally:
        exact.model.requires_grad_(False)
    assert packed == pytest.approx(padded, rel=1e-5)
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-4, msg=name)


def test_a_packed_example_sees_no_other(exact: Loaded, writer: Writer, source: str) -> None:
    first, second = list(examples(writer, source, 2))
    pack = losses.collator(exact.fim.pad, packing=True)
    with torch.inference_mode():
        alone, both = (
            exact.model(input_ids=made["input_ids"], position_ids=made["position_ids"], use_cache=False).logits
            for made in (pack([second]), pack([first, second]))
        )
    start = len(first["input_ids"])
    torch.testing.assert_close(both[0, start : start + 100], alone[0, :100], rtol=1e-3, atol=1e-3)


def test_less_memory_makes_the_same_steps() -> None:
    optim = OptimConfig(batch=6, accumulation=4)
    sizes = [(optim.batch, optim.accumulation)]
    while optim.batch > 1:
        optim = attempt.smaller(optim)
        sizes.append((optim.batch, optim.accumulation))
    assert sizes == [(6, 4), (3, 8), (1, 24)]
    with pytest.raises(UsageError, match="--context-tokens"):
        attempt.smaller(optim)


def test_which_errors_mean_that_memory_ran_out() -> None:
    with pytest.raises(RuntimeError) as refused:
        torch.empty(1 << 55, dtype=torch.uint8)
    assert attempt.is_out_of_memory(refused.value)
    assert attempt.is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert not attempt.is_out_of_memory(RuntimeError("shape mismatch"))
