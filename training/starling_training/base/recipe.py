"""The architecture, data and schedule of a bundled base."""

from dataclasses import asdict, dataclass
from typing import Any

from transformers import GPTBigCodeConfig

from starling_training.base.optimizer import ADAM_RATE, MUON_RATE

STAGES = ((0.14, 256), (0.3, 512), (1.0, 1024))
"""Row lengths by progress: (end as a share of the run, ids per row). Short rows cost less attention and hold more
middles per token, but the model outputs nothing at positions it was never trained on (`docs/experiments.md`).
"""
STAGES_GOING_ON = ((0.75, 512), (1.0, 1024))
"""`STAGES` for a run that continues from a base, whose positions are all trained: long rows only during the decay."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """A GPTBigCode model and its training run; the defaults are those of the bundled base."""

    layers: int = 8
    width: int = 320
    heads: int = 5
    vocabulary: int = 8192
    context: int = 1024
    tokens: int = 64_000_000
    """Ids to train on in total."""
    step_tokens: int = 8192
    """Ids in one optimiser step."""
    forward_tokens: int = 4096
    """Ids in one forward pass; several passes make one step."""
    muon_rate: float = MUON_RATE
    adam_rate: float = ADAM_RATE
    start_from: str = ""
    """Base to continue from, with its vocabulary: `tiny` or a folder. Empty starts from random weights."""
    seed: int = 0
    """Random seed for the document order: a run that continues from a base needs one of its own."""

    def length(self, seen: int) -> int:
        """Ids per row after `seen` ids of training."""
        stages = STAGES_GOING_ON if self.start_from else STAGES
        return min(self.context, next((size for share, size in stages if seen < share * self.tokens), self.context))

    def model_config(self) -> GPTBigCodeConfig:
        """The architecture, without dropout."""
        return GPTBigCodeConfig(
            vocab_size=self.vocabulary,
            n_positions=self.context,
            n_embd=self.width,
            n_layer=self.layers,
            n_head=self.heads,
            multi_query=True,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=0,
            eos_token_id=0,
            pad_token_id=4,
        )

    def record(self) -> dict[str, Any]:
        """Every field, for the checkpoint and the model card."""
        return asdict(self)
