"""The loop: what it optimises with, that it learns, and that a stopped run goes on as if it had not been."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional
from transformers import GPTBigCodeForCausalLM

from starling_server.backends.torch.loading import Loaded
from starling_server.errors import UsageError
from starling_training.base import optimizer, pretrain
from starling_training.base.attention import folded
from starling_training.base.optimizer import Muon
from starling_training.base.pretrain import Limits, Progress, Run
from starling_training.base.recipe import Recipe
from starling_training.base.stream import Stream

SMALL = Recipe(layers=2, width=64, heads=1, tokens=24 * 4096, step_tokens=1024, forward_tokens=512)


def run(tiny: Loaded, made: Stream) -> Run:
    return Run(SMALL, made, tiny.tokenizer, tiny.fim, torch.device("cpu"))


def after(steps: int) -> Limits:
    """Stop after so many steps."""
    left = iter(range(steps))
    return Limits(0, 1e9, lambda: next(left) == steps - 1)


def ignore(_: Progress) -> None:
    pass


def test_a_stopped_run_goes_on_as_if_it_had_not_been(tiny: Loaded, made: Stream, tmp_path: Path) -> None:
    whole = run(tiny, made)
    whole.train(tmp_path / "whole", after(8), ignore)
    first = run(tiny, made)
    first.train(tmp_path / "parts", after(3), ignore)
    second = run(tiny, made)
    second.resume(tmp_path / "parts")
    second.train(tmp_path / "parts", after(5), ignore)
    assert second.progress.tokens == whole.progress.tokens == 8 * SMALL.step_tokens
    pairs = zip(whole.model.parameters(), second.model.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_it_learns_ends_by_itself_and_exports(tiny: Loaded, made: Stream, tmp_path: Path) -> None:
    trained = run(tiny, made)
    trained.train(tmp_path / "run", Limits(0, 1e9, lambda: False), ignore)
    losses = [point.loss for point in trained.progress.curve]
    assert trained.progress.tokens == SMALL.tokens
    assert losses[-1] < losses[0] - 1
    pretrain.export(tmp_path / "run", tmp_path / "model")
    exported = GPTBigCodeForCausalLM.from_pretrained(tmp_path / "model")
    assert exported.dtype == torch.bfloat16
    assert [path.name for path in (tmp_path / "model").glob("*.safetensors")] == ["model.safetensors"]


def test_it_goes_on_from_an_earlier_base(tiny: Loaded, made: Stream, tmp_path: Path) -> None:
    first = run(tiny, made)
    first.train(tmp_path / "run", after(2), ignore)
    pretrain.export(tmp_path / "run", tmp_path / "model")
    recipe = replace(SMALL, start_from=str(tmp_path / "model"))
    second = Run(recipe, made, tiny.tokenizer, tiny.fim, torch.device("cpu"), tmp_path / "model")
    pairs = zip(first.model.parameters(), second.model.parameters(), strict=True)
    assert all(torch.equal(one.bfloat16(), other.bfloat16()) for one, other in pairs)
    assert [recipe.length(int(share * recipe.tokens)) for share in (0, 0.7, 0.8)] == [512, 512, 1024]
    with pytest.raises(UsageError, match="another shape than the run"):
        Run(replace(recipe, width=128), made, tiny.tokenizer, tiny.fim, torch.device("cpu"), tmp_path / "model")


@pytest.mark.parametrize("shape", [(64, 256), (256, 64), (48, 48)])
def test_muon_is_torch_s_but_for_its_bfloat16(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    ours, theirs = (torch.nn.Parameter(torch.ones(shape)) for _ in range(2))
    pair = (
        Muon([{"params": [ours]}], lr=0.01, weight_decay=0.1),
        torch.optim.Muon([{"params": [theirs]}], lr=0.01, weight_decay=0.1),
    )
    for _ in range(3):
        ours.grad = torch.randn(shape)
        theirs.grad = ours.grad.clone()
        for optimiser in pair:
            optimiser.step()
    moved = (theirs - 1).norm()
    assert (ours - theirs).norm() < 0.02 * moved


def test_short_rows_first(tiny: Loaded) -> None:
    lengths = [SMALL.length(int(share * SMALL.tokens)) for share in (0, 0.13, 0.2, 0.4, 0.9)]
    assert lengths == [256, 256, 512, 1024, 1024]


def test_every_weight_has_one_optimiser(tiny: Loaded) -> None:
    model = GPTBigCodeForCausalLM(SMALL.model_config())
    both = optimizer.optimisers(model, 0.02, 2e-3)
    muon, adam = ([w for group in o.param_groups for w in group["params"]] for o in (both.muon, both.adam))
    assert len(muon) == 4 * SMALL.layers
    assert {id(w) for w in [*muon, *adam]} == {id(w) for w in model.parameters()}
    assert len(muon) + len(adam) == len(list(model.parameters()))


def test_the_rate_rises_stays_and_falls() -> None:
    shape = [optimizer.factor(progress) for progress in (0, 0.005, 0.1, 0.69, 0.85, 1)]
    assert shape == pytest.approx([0.01, 0.51, 1, 1, 0.5, 0])


def test_folded_attention_is_causal_attention() -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(2, 5, 33, 16), torch.randn(2, 1, 33, 16), torch.randn(2, 1, 33, 16)
    mixed, _ = folded(None, query, key, value, None)
    expected = functional.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)
    assert torch.allclose(mixed.transpose(1, 2), expected, atol=1e-5)
