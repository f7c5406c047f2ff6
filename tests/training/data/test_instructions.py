"""Built instruction data, as a run opens them."""

from emo_llama.training.data.instructions import InstructionData


def test_the_longest_conversation_is_told(ferplus_build) -> None:
    assert InstructionData(ferplus_build[0]).longest_conversation() == 2
