"""What a bundled base is made of, and how long it is trained."""

from dataclasses import asdict, dataclass
from typing import Any

from transformers import GPTBigCodeConfig

from starling_training.base.optimizer import ADAM_RATE, MUON_RATE

STAGES = ((0.14, 256), (0.3, 512), (1.0, 1024))
"""Until which share of a run rows have which length: short rows cost less attention and hold more middles per token,
but positions never trained answer with nothing (`docs/experiments.md`)."""
STAGES_GOING_ON = ((0.75, 512), (1.0, 1024))
"""The same for a run that goes on from a base, which knows every position already: long rows only while rates fall."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """A GPTBigCode model and its run; the defaults are the bundled base's."""

    layers: int = 8
    width: int = 320
    heads: int = 5
    vocabulary: int = 8192
    context: int = 1024
    tokens: int = 64_000_000
    """Ids to learn from in all."""
    step_tokens: int = 8192
    """Ids in one optimiser step."""
    forward_tokens: int = 4096
    """Ids in one forward; several make a step."""
    muon_rate: float = MUON_RATE
    adam_rate: float = ADAM_RATE
    start_from: str = ""
    """A base to go on from, with its vocabulary: `tiny` or a folder. Empty begins with random weights."""
    seed: int = 0
    """Documents are read in another order with another one: give a run that goes on from a base its own."""

    def length(self, seen: int) -> int:
        """Ids of a row when `seen` have been learnt from."""
        stages = STAGES_GOING_ON if self.start_from else STAGES
        return min(self.context, next((size for share, size in stages if seen < share * self.tokens), self.context))

    def model_config(self) -> GPTBigCodeConfig:
        """The architecture, with dropout off."""
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
